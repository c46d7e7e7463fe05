"""What a shift costs and what is recovered, from hand-made (synthetic) predictions whose shares are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from allograft.data.predictions import Predictions
from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.study.cells import cells_of
from allograft.study.domain_gap import Shifted
from allograft.study.frames import from_frame, to_frame
from allograft.study.judge import judge_recipes
from allograft.study.judged import pair_of
from allograft.study.shifted import Judged, judge_shift, reference_recipes
from synthetic_shift import TASK, right, write_runs

ACCURACY, BALANCED = METRICS["accuracy"], METRICS["balanced_accuracy"]
LOW = (1, 2, 3, 2, 1, 2, 3, 1, 2, 2)
GAP = (2, 4, 2, 6, 4, 2, 4, 6, 2, 4)
RECIPES = {"plain": {}, "upper": {"learn": "target"}, "half": {"objective": "dann"}}


def judged(
    folder: Path,
    counts: Mapping[str, Sequence[Sequence[int]]],
    *,
    metric: Metric = ACCURACY,
    home: Sequence[int] = (7, 8, 6, 7, 8, 7, 6, 8, 7, 7),
    recipes: Mapping[str, Mapping[str, Any]] = RECIPES,
    domains: bool = False,
    folds: int = 2,
) -> Shifted:
    """Judge recipes by the number of right cases of 8 in each unit and seed."""
    tested = {
        name: [(_sited(right(seed, 8), domains=domains), right(home[: len(seed)], 8, name="s")) for seed in seeds]
        for name, seeds in counts.items()
    }
    shift = {"target": ["siteB", "siteC"] if domains else ["siteB"], "source": [], "labels": 2}
    store, keys, facts = write_runs(folder, recipes, tested, shift=shift, folds=folds)
    cells = cells_of(store, keys, TASK)
    found = judge_recipes(cells, metric, unit="patient")
    pairs = [pair_of(c, cells, metric) for c in found.comparisons]
    shifted = judge_shift(store, keys, facts, Judged(cells, metric, found, pairs))
    assert shifted is not None
    return shifted


def _sited(p: Predictions, *, domains: bool) -> Predictions:
    if not domains:
        return p
    site = ["siteB" if int(group[1:]) % 2 else "siteC" for group in p.groups]
    return replace(p, ids=tuple(f"{name}@{s}" for name, s in zip(p.ids, site, strict=True)))


def plus(share: float) -> list[int]:
    return [int(low + share * gap) for low, gap in zip(LOW, GAP, strict=True)]


def test_half_of_the_gap_in_every_unit_is_one_half(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW], "upper": [plus(1)], "half": [plus(0.5)]})
    assert (found.source_only, found.target_supervised, found.gap_shown) == ("plain", "upper", True)
    (row,) = found.recovered
    assert (row.recipe, row.share, row.low, row.high) == ("half", *map(pytest.approx, (0.5, 0.5, 0.5)))
    assert row.gain.mean == pytest.approx(np.mean(GAP) / 16)
    assert row.verdict == "better"
    assert found.gap is not None
    assert found.gap.mean == pytest.approx(np.mean(GAP) / 8)
    assert "half (50 %; 95 % CI 50 % to 50 %) recovers part of the gap" in found.sentences[0]


def test_seeds_are_averaged_before_the_share(tmp_path: Path) -> None:
    two = [plus(1), LOW]  # one seed as good as the upper bound, one as poor as source-only: half on average
    found = judged(tmp_path, {"plain": [LOW, LOW], "upper": [plus(1), plus(1)], "half": two})
    (row,) = found.recovered
    assert (row.share, row.low, row.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))


def test_a_metric_of_the_set_is_taken_fold_by_fold_without_each_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    method = [low + int(n) for low, n in zip(LOW, rng.integers(0, 3, 10), strict=True)]
    found = judged(tmp_path, {"plain": [LOW], "upper": [plus(1)], "half": [method]}, metric=BALANCED)

    def score(counts: Sequence[int], left: int | None) -> float:
        p = right(counts, 8)
        unit = np.array([int(group[1:]) for group in p.groups])
        keep = np.ones(len(p), bool) if left is None else unit != left
        folds = [keep & (unit % 2 == k) for k in range(2)]
        parts = [balanced_accuracy_score(p.targets[f], p.probabilities[f].argmax(1)) for f in folds]
        return float(np.average(parts, weights=[f.sum() for f in folds]))

    gain, gap = (
        np.array([score(a, left) - score(LOW, left) for left in [None, *range(10)]]) for a in (method, plus(1))
    )
    v = 81 / 10 * np.cov(gain[1:], gap[1:])
    t = stats.t.ppf(0.975, 9)
    tried = np.linspace(-2, 3, 50001)
    kept = tried[np.abs(gain[0] - tried * gap[0]) <= t * np.sqrt(v[0, 0] - 2 * tried * v[0, 1] + tried**2 * v[1, 1])]
    (row,) = found.recovered
    assert row.share == pytest.approx(gain[0] / gap[0])
    assert (row.low, row.high) == (pytest.approx(kept.min(), abs=2e-4), pytest.approx(kept.max(), abs=2e-4))


def test_no_share_where_the_gap_is_not_shown_to_be_above_0(tmp_path: Path) -> None:
    upper = [low + (1 if i % 2 else -1) for i, low in enumerate(LOW)]
    found = judged(tmp_path, {"plain": [LOW], "upper": [upper], "half": [plus(0.5)]})
    assert not found.gap_shown
    assert found.recovered[0].share is None
    assert found.recovered[0].verdict == "better"  # against source-only the method is still judged
    assert any("not shown to be above 0" in said for said in found.sentences)
    assert "%" not in found.sentences[0]


def test_a_method_that_loses_reads_worse_and_below_0(tmp_path: Path) -> None:
    low = [count + 2 for count in LOW]
    bad = [count - d for count, d in zip(low, (2, 1, 2, 3, 2, 1, 2, 2, 3, 2), strict=True)]
    found = judged(
        tmp_path,
        {
            "plain": [low],
            "upper": [[c + d for c, d in zip(low, (1, 2, 3, 3, 2, 3, 2, 3, 1, 3), strict=True)]],
            "half": [bad],
        },
    )
    (row,) = found.recovered
    assert row.share is not None
    assert row.share < 0
    assert row.high is not None
    assert row.high < 0
    assert row.verdict == "worse"
    assert "half does worse than plain" in found.sentences[0]


def test_below_6_units_nobody_can_tell(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW[:5]], "upper": [plus(1)[:5]], "half": [plus(0.5)[:5]]})
    assert not found.gap_shown
    assert found.recovered[0].share is None
    assert found.recovered[0].verdict == "cannot tell"
    assert "nobody can tell" in found.sentences[0]
    assert any("at least 6 independent ones are needed" in said for said in found.sentences)
    assert found.cost is not None
    assert (found.cost.lost.low, found.cost.p) == (None, None)
    assert all(e.low is None for d in found.domains for e in d.estimates.values())


def test_the_cost_is_the_loss_from_the_source_to_the_target(tmp_path: Path) -> None:
    home = (7, 8, 6, 7, 8, 7, 6, 8, 7, 7)
    found = judged(tmp_path, {"plain": [LOW], "upper": [plus(1)], "half": [plus(0.5)]}, home=home)
    cost = found.cost
    assert cost is not None
    assert cost.home.mean == pytest.approx(np.mean(home) / 8)
    assert cost.away.mean == pytest.approx(np.mean(LOW) / 8)
    paired = (np.array(home) - np.array(LOW)) / 8  # the same patients on both sides: leaving one out leaves both out
    assert (cost.lost.low, cost.lost.high) == tuple(
        map(pytest.approx, stats.t.interval(0.95, 9, paired.mean(), paired.std(ddof=1) / np.sqrt(10)))
    )
    assert any(said.startswith("plain loses") for said in found.sentences)


def test_each_domain_has_every_recipe_targets_first(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW], "upper": [plus(1)], "half": [plus(0.5)]}, metric=BALANCED, domains=True)
    assert [(d.name, d.side, d.n_units, d.n_cases) for d in found.domains] == [
        ("siteB", "target", 5, 40),
        ("siteC", "target", 5, 40),
        ("siteA", "source", 10, 80),
    ]
    odd = np.mean([count for i, count in enumerate(LOW) if i % 2]) / 8
    assert found.domains[0].estimates["plain"].mean == pytest.approx(odd, abs=0.05)
    assert found.domains[0].estimates["plain"].low is None
    assert found.domains[2].estimates["plain"].low is not None


def test_domains_of_cases_are_a_column_that_predictions_do_without() -> None:
    p = right((1, 2), 2)
    names = {name: name for name in (*p.ids, *p.groups)}
    frame = to_frame(p, names, dict.fromkeys(p.ids, "siteB"))
    assert list(frame["domain"]) == ["siteB"] * 4
    assert "domain" not in to_frame(p, names)
    assert from_frame(frame, p.task).ids == p.ids
    assert np.array_equal(from_frame(frame, p.task).probabilities, p.probabilities)


@pytest.mark.parametrize(
    ("recipes", "baseline", "expected"),
    [
        (RECIPES, "plain", ("plain", "upper")),
        ({"plain": {}, "a": {"learn": "few"}}, "plain", ("plain", None)),
        ({"top": {"learn": "target"}, "b": {}}, "top", ("b", "top")),
        ({"few": {"learn": "few"}, "top": {"learn": "target"}}, "few", (None, "top")),
        (
            {
                "p": {},
                "u1": {"learn": "target", "objective": "x"},
                "u2": {"learn": "target"},
                "u3": {"learn": "target"},
            },
            "p",
            ("p", "u2"),
        ),
    ],
)
def test_the_rule_that_finds_source_only_and_target_supervised(
    recipes: Mapping[str, Mapping[str, Any]], baseline: str, expected: tuple[str | None, str | None]
) -> None:
    words = {name: {"objective": "supervised", "procedure": "finetune", **w} for name, w in recipes.items()}
    lower, upper, said = reference_recipes(words, baseline)
    assert (lower, upper) == expected
    assert all(name is None or name in said for name in expected)


def test_how_weights_were_chosen_is_said_of_each(tmp_path: Path) -> None:
    recipes = {**RECIPES, "blind": {"selects_by": "entropy"}, "few": {"learn": "few"}}
    counts = {"plain": [LOW], "upper": [plus(1)], "half": [plus(0.5)], "blind": [LOW], "few": [LOW]}
    found = judged(tmp_path, counts, recipes=recipes)
    assert found.selections["plain"] == "metric, source labels"
    assert found.selections["upper"] == "metric, target labels"
    assert found.selections["blind"] == "entropy, blind"
    assert {row.recipe: row.labels for row in found.recovered}["few"] == "target, a few"


def test_a_smaller_metric_that_is_better_keeps_its_signs(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW], "upper": [plus(1)], "half": [plus(0.5)]}, metric=METRICS["log_loss"])
    assert found.gap is not None
    assert found.gap.mean is not None
    assert found.gap.mean > 0
    assert found.recovered[0].share == pytest.approx(0.5)
    assert found.cost is not None
    assert found.cost.lost.mean is not None
    assert found.cost.lost.mean > 0


def test_a_data_set_without_a_shift_has_none(tmp_path: Path) -> None:
    store, keys, facts = write_runs(tmp_path, {"plain": {}}, {"plain": [(right(LOW, 8), None)]})
    facts["spec"]["study"]["datasets"][0]["shift"] = None
    cells = cells_of(store, keys, TASK)
    judgement = judge_recipes(cells, ACCURACY, unit="patient")
    assert judge_shift(store, keys, facts, Judged(cells, ACCURACY, judgement, ())) is None


def test_a_single_patient_breaks_nothing_and_tells_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW[:1]], "upper": [plus(1)[:1]], "half": [LOW[:1]]}, folds=1)
    assert (found.cost, found.gap_shown) == (None, False)
    assert found.domains[0].estimates["plain"].mean == pytest.approx(LOW[0] / 8)


def test_runs_that_are_older_than_domains_in_their_tables_are_still_judged(tmp_path: Path) -> None:
    tested = {name: [(right(seed, 8), right(LOW, 8, name="s"))] for name, seed in (("plain", LOW), ("upper", plus(1)))}
    store, keys, facts = write_runs(tmp_path, {"plain": {}, "upper": {"learn": "target"}}, tested)
    for path in tmp_path.glob("runs/*/*.parquet"):
        pd.read_parquet(path).drop(columns="domain").to_parquet(path, index=False)
    cells = cells_of(store, keys, TASK)
    judgement = judge_recipes(cells, ACCURACY, unit="patient")
    pairs = [pair_of(c, cells, ACCURACY) for c in judgement.comparisons]
    found = judge_shift(store, keys, facts, Judged(cells, ACCURACY, judgement, pairs))
    assert found is not None
    assert (found.domains, found.gap_shown) == ((), True)
    assert any("on test cases of the source" in said for said in found.sentences)


def test_without_an_upper_bound_gains_are_judged_and_no_gap_is_claimed(tmp_path: Path) -> None:
    found = judged(tmp_path, {"plain": [LOW], "half": [plus(0.5)]}, recipes={"plain": {}, "half": {}})
    assert (found.target_supervised, found.gap, found.recovered[0].share) == (None, None, None)
    assert found.recovered[0].verdict == "better"
    assert any("no upper bound" in said for said in found.sentences)
