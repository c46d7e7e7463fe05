"""The section "Across domains", from a made-up (synthetic) finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allograft.cli.compare import as_data
from allograft.report.write import render
from allograft.study.compared import Estimate, seen_from
from allograft.study.domain_gap import Cost, Domain, LeftOut, Mapped, Recovered, Shifted
from allograft.study.feature_map import FeatureMap, write_map
from allograft.study.headline import headline
from allograft.study.summary import Summary, Table
from html_walk import Walk, complaints
from synthetic_summary import HOSTILE, synthetic_summary, synthetic_table

SHARES = {"imagenet-lpft": (0.95, 0.7, 1.2), "lowest-2": (0.5, 0.2, 0.9), "mean-var": (0.2, -60.0, 0.5)}
SHARES |= {"frozen-random": (-2.4, -3.1, -1.6)}


def synthetic_shift(table: Table, folder: Path, *, shown: bool = True, site: str = "siteB") -> Shifted:
    """Return a made-up finding from "scratch" to "imagenet" with feature maps on disk."""
    pairs = {p.a: p for p in (seen_from(p, "scratch") for p in table.pairs if "scratch" in {p.a, p.b})}
    rows = []
    for name, (share, low, high) in SHARES.items():
        gain = Estimate(mean=pairs[name].difference, low=-0.1, high=0.1, n_units=12)
        verdict = "worse" if name == "frozen-random" else "better" if low > 0 else "no detectable difference"
        part = (share, low, high) if shown else (None, None, None)
        rows.append(
            Recovered(
                recipe=name, labels="source", selection="entropy, blind", gain=gain, verdict=verdict, p_adjusted=0.01,
                share=part[0], low=part[1], high=part[2], sentence=f"{name} in a sentence.",
            )
        )  # fmt: skip
    domains = tuple(
        Domain(
            name=name, side=side, n_units=n, n_cases=4 * n,
            estimates={r.name: Estimate(mean=0.5, low=None if n < 6 else 0.4, high=0.6) for r in table.recipes},
        )
        for name, side, n in ((site, "target", 12), ("siteC", "target", 4), ("siteA", "source", 12))
    )  # fmt: skip
    return Shifted(
        source=("siteA",), target=(site, "siteC"), few=3, source_only="scratch", target_supervised="imagenet",
        rule="Source-only is scratch, the baseline.",
        cost=Cost(home=Estimate(mean=0.9), away=Estimate(mean=0.6), lost=Estimate(mean=0.3, low=0.2, high=0.4)),
        gap=Estimate(mean=0.1, low=0.06 if shown else -0.1, high=0.14, n_units=12), gap_shown=shown,
        recovered=tuple(rows), domains=domains, maps=tuple(_mapped(r.name, folder, site) for r in table.recipes),
        selections={r.name: "metric, source labels" for r in table.recipes},
        sentences=("From siteA to siteB, something is recovered.", "The gap is 0.1.", "scratch loses 0.3."),
    )  # fmt: skip


def _mapped(recipe: str, folder: Path, site: str) -> Mapped:
    rng, where = np.random.default_rng(len(recipe)), folder / recipe
    where.mkdir(exist_ok=True)
    sides = ("source", "target") * 20
    points = FeatureMap(
        tuple(f"c{i}" for i in range(40)), tuple("siteA" if s == "source" else site for s in sides), sides,
        ("dermis", "empty slide", "dermis", "dermis") * 10, rng.normal(size=(40, 2)), rng.normal(size=(40, 2)),
    )  # fmt: skip
    one = Mapped(recipe=recipe, run="r", file=where / "feature_map.parquet", told_before=0.98, told_after=0.61)
    write_map(where, points, one)
    return one


def shifted_summary(folder: Path, *, shown: bool = True, site: str = "siteB") -> Summary:
    table = synthetic_table()
    table = table.model_copy(update={"shift": synthetic_shift(table, folder, shown=shown, site=site)})
    left = LeftOut(
        dataset="skin", domains=("siteA", site), source_only="scratch", means={"imagenet": 0.8, "scratch": None},
        values={"imagenet": {"siteA": 0.9, site: 0.7}, "scratch": {"siteA": 0.6, site: None}}, better={"imagenet": 1},
        sentence="skin: 2 domains were each left out in turn.",
    )  # fmt: skip
    return synthetic_summary((table,), left_out=(left,), headline=headline((table,), "scratch", "balanced accuracy"))


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return shifted_summary(tmp_path_factory.mktemp("maps"))


def test_the_section_is_well_formed_and_says_everything(summary: Summary) -> None:
    page = render(summary)
    assert complaints(page) == []
    walk = Walk(page)
    shift = summary.tables[0].shift
    assert shift is not None
    for text in (shift.rule, *shift.sentences[1:], *(row.sentence for row in shift.recovered), "Across domains"):
        assert text in walk.text
    for text in ("95 %", "70 % to 120 %", "−240 %", "< −1000 % to 50 %", "told apart 98 %", "1 of 2", "entropy, blind"):
        assert text in walk.text
    first = walk.text.index(summary.headline[0])
    assert first < walk.text.index("Ranking", first)
    assert summary.headline[0] == "On skin: from siteA to siteB, something is recovered."


def test_drawings_say_in_words_what_they_show(summary: Summary) -> None:
    walk = Walk(render(summary))
    shares = [label for label in walk.labels if "Share of the gap" in label]
    assert len(shares) == 2  # wide and narrow
    assert all(f"{name}: " in shares[0] for name in SHARES)
    maps = [label for label in walk.labels if "principal components" in label]
    assert len(maps) == 2 * 6  # before and after, of six recipes at most
    assert "Source hollow, target full" in maps[0]


def test_without_a_shown_gap_no_share_is_drawn_or_written(tmp_path: Path) -> None:
    page = render(shifted_summary(tmp_path, shown=False))
    assert complaints(page) == []
    walk = Walk(page)
    assert not any("Share of the gap" in label for label in walk.labels)
    assert "no share" in walk.text
    assert "the gap is not shown" in walk.text


def test_a_study_without_a_shift_has_no_such_section() -> None:
    page = render(synthetic_summary())
    assert "Across domains" not in page
    assert "shift" not in as_data(synthetic_summary())["tables"][0]


def test_hostile_domains_do_not_break_the_page(tmp_path: Path) -> None:
    page = render(shifted_summary(tmp_path, site=HOSTILE))
    assert complaints(page) == []
    assert "<script>alert" not in page


def test_maps_that_are_gone_leave_the_numbers(summary: Summary, tmp_path: Path) -> None:
    shift = summary.tables[0].shift
    assert shift is not None
    gone = shift.model_copy(update={"maps": tuple(m.model_copy(update={"file": tmp_path / "no"}) for m in shift.maps)})
    table = summary.tables[0].model_copy(update={"shift": gone})
    walk = Walk(render(summary.model_copy(update={"tables": (table,)})))
    assert "told apart before" in walk.text
    assert not any("principal components" in label for label in walk.labels)


def test_the_json_holds_shares_and_numbers_but_no_places_on_this_machine(summary: Summary) -> None:
    found = as_data(summary)
    shift = found["tables"][0]["shift"]
    assert {row["recipe"]: row["share"] for row in shift["recovered"]} == {n: s[0] for n, s in SHARES.items()}
    assert shift["maps"][0]["told_after"] == 0.61
    assert "file" not in shift["maps"][0]
    assert found["left_out"][0]["values"]["imagenet"]["siteB"] == 0.7
