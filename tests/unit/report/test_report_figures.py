"""Drawings and words of the report, on made-up (synthetic) numbers."""

from __future__ import annotations

import re

import pytest

from allograft.report import words
from allograft.report.figures.canvas import sheet
from allograft.report.figures.coverage import coverage
from allograft.report.figures.forest import forest, seen_from
from allograft.report.figures.heatmap import heatmap
from allograft.report.figures.ranking import ranking
from allograft.report.style import INK, ROLES, looks
from html_walk import complaints
from synthetic_summary import synthetic_summary, synthetic_table


def test_colours_become_variables_and_reader_words_stay() -> None:
    text = 'lr0.12345678 id="x" url(#y) #000001; <b> $a$'
    with sheet(200, 100) as page:
        axes = page.axes(left=10, right=10, top=10, bottom=10)
        axes.text(0.5, 0.5, text, color=INK)
        axes.plot([0, 1], [0, 1], color=INK, marker="o")
        svg = page.svg("one", "a <label>")
    assert text.replace("<", "&lt;").replace(">", "&gt;") in svg
    assert 'aria-label="a &lt;label&gt;"' in svg
    tags = "".join(re.findall(r"<[^>]*>", svg))
    assert not re.findall(r"#[0-9a-f]{6}", tags)
    assert "var(--ink)" in tags
    assert complaints(svg) == []


def test_ids_of_two_drawings_do_not_clash() -> None:
    def draw(name: str) -> str:
        with sheet(100, 100) as page:
            page.axes(left=10, right=10, top=10, bottom=10).plot([0, 1], "o", color=INK)
            return page.svg(name, "x")

    assert complaints(draw("a") + draw("b")) == []
    assert any("id twice" in one for one in complaints(draw("a") + draw("a")))


def test_every_role_is_a_variable_that_the_style_sheet_defines() -> None:
    from allograft.report.write import _asset

    css = _asset("style.css")
    for role in set(ROLES.values()):
        assert f"{role.removeprefix('var(').removesuffix(')')}:" in css


def test_looks_are_told_apart_without_colour_and_do_not_depend_on_who_won() -> None:
    tables = (synthetic_table(),)
    summary = synthetic_summary(tables)
    found = looks(summary)
    assert len({(look.marker, look.dashes) for look in found.values()}) == len(found)
    turned = tables[0].model_copy(update={"recipes": tables[0].recipes[::-1]})
    assert looks(synthetic_summary((turned,))) == found


def test_pair_seen_from_the_baseline_turns_sign_and_interval() -> None:
    pair = next(p for p in synthetic_table().pairs if p.a == "scratch" and p.b == "frozen-random")
    turned = seen_from(pair, "scratch")
    assert (turned.a, turned.b) == ("frozen-random", "scratch")
    assert pair.ci is not None
    assert turned.ci == (-pair.ci[1], -pair.ci[0])
    assert turned.difference == -(pair.difference or 0)
    assert seen_from(turned, "scratch") == turned


@pytest.mark.parametrize("width", [760, 350])
def test_synthetic_ranking_and_forest_name_everyone(width: float) -> None:
    table, look = synthetic_table(), looks(synthetic_summary())
    drawn = ranking(table, look, metric="balanced accuracy", baseline="scratch", name="r", width=width)
    for recipe in table.recipes:
        assert f">{recipe.name}<" in drawn
    pairs = [seen_from(p, "scratch") for p in table.pairs if "scratch" in {p.a, p.b}]
    drawn = forest(pairs, metric="balanced accuracy", baseline="scratch", name="f", width=width)
    assert "too small to matter" in drawn
    assert all(f">{p.a}<" in drawn for p in pairs)


def test_frozen_share_is_hatched_and_only_where_something_is_frozen() -> None:
    fates = {"copied": 0.998, "fresh": 0.002}
    frozen = coverage([("probe", {**fates, "frozen": 0.998})], name="c", width=760)
    free = coverage([("full", {**fates, "frozen": 0.0})], name="c", width=760)
    assert "<pattern" in frozen
    assert "<pattern" not in free
    assert "99.8 % frozen" in frozen


def test_heat_map_writes_every_value_and_deepens_with_it() -> None:
    svg = heatmap(["a"], ["x", "y", "z"], {("a", "x"): 0.1, ("a", "y"): 0.9}, what="w", name="h")
    assert ">0.10<" in svg
    assert ">0.90<" in svg
    assert ">·<" in svg
    low, high = sorted(float(v) for v in re.findall(r"opacity: ([\d.]+)", svg))[-2:]
    assert low < high


def test_numbers_are_written_alike() -> None:
    assert words.number(0.81249) == "0.812"
    assert words.number(0.0) == "0.000"
    assert words.number(-0.0) in {"0.000", "−0.000"}
    assert words.signed(None) == "–"
    assert words.span(-0.02, 0.011) == "−0.020 to 0.011"
    assert words.p_value(0.0004) == "< 0.001"
    assert words.percent(0.99999) == "> 99.9 %"
    assert words.counted(2, "study") == "2 studies"
    assert words.counted(1200, "case") == "1\N{NO-BREAK SPACE}200 cases"
