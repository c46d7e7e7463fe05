"""The whole page, from made-up (synthetic) studies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from allograft.report.write import render, write_report
from allograft.study.summary import Curve, Estimate, Summary, Table
from html_walk import Walk, complaints
from synthetic_summary import HOSTILE, RECIPES, synthetic_summary, synthetic_table


@pytest.fixture(scope="module")
def full() -> Summary:
    return synthetic_summary()


@pytest.fixture(scope="module")
def page(full: Summary) -> str:
    return render(full)


@pytest.fixture(scope="module")
def walk(page: str) -> Walk:
    return Walk(page)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("<p><b>x</p>", "closes"),
        ("<p>x<ul></ul></p>", "inside <p>"),
        ('<i id="a"></i><i id="a"></i>', "id twice"),
        ('<a href="#none">x</a>', "refers to nothing"),
        ('<img src="http://example.invalid/x.png">', "would fetch"),
        ('<link href="//example.invalid/x.css">', "would fetch"),
        ("<style>a { background: url(x.png) }</style>", "style fetches"),
        ('<b onclick="x()">x</b>', "script in attribute"),
        ("<section>", "never closed"),
    ],
)
def test_walk_can_say_no(bad: str, said: str) -> None:
    assert any(said in one for one in complaints(bad))


def test_synthetic_page_is_well_formed_and_fetches_nothing(walk: Walk) -> None:
    assert walk.complaints == []


def test_page_forbids_every_connection(page: str) -> None:
    assert "default-src 'none'" in page
    assert page.count("<script") == 1


def test_verdict_stands_first_and_every_sentence_is_there(walk: Walk, full: Summary) -> None:
    for sentence in full.headline:
        assert sentence in walk.text
    for table in full.tables:
        for pair in table.pairs:
            assert pair.sentence in walk.text
    assert walk.text.index(full.headline[0]) < walk.text.index("Ranking", walk.text.index(full.headline[0]))
    assert f"{len(full.runs)} finished of {full.planned} planned runs, 2 failed" in walk.text
    assert "3 planned runs are not finished" in walk.text


def test_warnings_notes_commands_and_licences_are_shown(walk: Walk, full: Summary) -> None:
    for text in (*full.warnings, *full.tables[0].notes, *full.commands, "Apache-2.0", "CC0-1.0"):
        assert text in walk.text
    assert "independent unit is the strip" in walk.text


def test_every_recipe_stands_in_every_table_of_results(walk: Walk) -> None:
    results = [text for text in walk.tables if "linear-probe" in text and "plan of" not in text]
    assert len(results) > 10
    for text in results:
        against = "each recipe minus scratch" in text  # names the others only
        assert {name for name in RECIPES if name not in text} <= ({"scratch"} if against else set())


def test_drawings_say_in_words_what_they_show(walk: Walk, full: Summary) -> None:
    for name in RECIPES:
        assert any(name in label and "95 % interval" in label for label in walk.labels)
    assert all(label for label in walk.labels)


def test_runs_that_never_reach_the_threshold_are_said(walk: Walk) -> None:
    assert "12 of 12 runs never reached it" in walk.text
    assert "9 of 12 runs never reached it" in walk.text


def test_recipe_that_lost_reads_worse(page: str) -> None:
    assert 'class="badge worse"' in page


def test_hostile_text_stays_text(page: str, walk: Walk) -> None:
    assert HOSTILE in walk.text
    assert "<script>alert" not in page
    assert "http://" not in page.replace("http://example.invalid", "")


@pytest.mark.parametrize("field", ["dataset", "unit", "classes", "notes", "stage"])
def test_hostile_names_do_not_break_the_page(field: str) -> None:
    table = synthetic_table(recipes=2)
    change: dict[str, object] = {"classes": ("a", HOSTILE), "notes": (HOSTILE,)}.get(field, HOSTILE)  # type: ignore[assignment]
    update = {field: change}
    if field == "stage":
        update = {"layers": tuple(x.model_copy(update={"stage": f"{HOSTILE[:8]}{x.stage}"}) for x in table.layers)}
    hostile = synthetic_summary((table.model_copy(update=update),), plans={HOSTILE: {}}, warnings=(HOSTILE,))
    found = render(hostile)
    assert complaints(found) == []
    assert "<script>alert" not in found


def test_same_summary_gives_same_bytes_and_needs_no_torch(tmp_path: Path, full: Summary) -> None:
    file = tmp_path / "summary.json"
    file.write_text(full.model_dump_json(), encoding="utf-8")
    code = f"""
import sys
from pathlib import Path
import matplotlib
matplotlib.rcParams["font.size"] = 31  # a reader's own style changes nothing
from allograft.report.write import write_report
from allograft.study.summarise import summarise
from allograft.study.summary import Summary
write_report(Summary.model_validate_json(Path({str(file)!r}).read_text()), Path({str(tmp_path / "a.html")!r}))
assert "torch" not in sys.modules, "torch was imported"
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    second = Summary.model_validate_json(file.read_text(encoding="utf-8"))
    assert write_report(second, tmp_path / "b.html") == tmp_path / "b.html"
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def _bare(table: Table) -> Table:
    """No value, no interval, no curve, no layer: what a metric without a value leaves."""
    none = Estimate(mean=None)
    recipes = tuple(
        r.model_copy(update={"estimate": none, "by_metric": {"auroc": none}, "by_class": {}, "by_seed": {}})
        for r in table.recipes
    )
    gone = {"difference": None, "ci": None, "p": None, "p_adjusted": None, "verdict": "cannot tell", "p_seeds": None}
    pairs = tuple(p.model_copy(update=gone) for p in table.pairs)
    curve = Curve(recipe="imagenet", x=(), mean=(), low=(), high=())
    update = {"recipes": recipes, "pairs": pairs, "layers": (), "similarity": {}, "validation_curves": (curve,)}
    return table.model_copy(update=update)


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        ((), {"runs": (), "planned": 84}),
        ((synthetic_table(recipes=1),), {"failures": ()}),
        ((synthetic_table(recipes=2, seeds=1, n_units=1),), {"weight_cards": (), "plans": {}}),
        ((synthetic_table(n_units=4, recipes=3),), {"commands": (), "environment": {}}),
        ((_bare(synthetic_table(recipes=3)),), {}),
        ((synthetic_table(recipes=2, n_units=60),), {"baseline": "absent"}),
    ],
    ids=["nothing", "one recipe", "one unit", "few units", "no values", "no baseline"],
)
def test_synthetic_edges_give_whole_pages(tables: tuple[Table, ...], changes: dict[str, object]) -> None:
    found = Walk(render(synthetic_summary(tables, **changes)))
    assert found.complaints == []
    assert not any(word in found.text.lower().split() for word in ("nan", "none)", "inf"))


def test_several_data_sets_and_fractions_are_all_named() -> None:
    tables = tuple(synthetic_table(dataset=d, fraction=f, recipes=2) for d in ("skin", "blood") for f in (1.0, 0.1))
    found = Walk(render(synthetic_summary(tables)))
    assert found.complaints == []
    for title in ("skin, all labels", "skin, 10 % of the labels", "blood, all labels", "blood, 10 % of the labels"):
        assert title in found.text
