"""Recipes judged on synthetic predictions, against scikit-learn and scipy by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from allograft.core.errors import DataError
from allograft.data.predictions import Predictions
from allograft.metrics import METRICS
from allograft.metrics.judgement import take
from allograft.study.judge import Cell, judge_recipes, seed_values
from synthetic_predictions import predictions

BALANCED, AUROC, LOG_LOSS = METRICS["balanced_accuracy"], METRICS["auroc"], METRICS["log_loss"]


def cell(
    recipe: str, *, skill: float, units: int = 12, each: int = 4, folds: int = 3, seed: int = 0, run: int = 0
) -> Cell:
    """Return synthetic predictions of one recipe, its units dealt to folds; every unit has all classes."""
    whole = predictions("binary", n=units * each, skill=skill, seed=run, per_group=each)
    fold = np.repeat(np.arange(units) % folds, each)
    return Cell(recipe, seed, tuple(take(whole, np.flatnonzero(fold == k)) for k in range(folds)))


def by_folds(cell: Cell, leave_out: str = "") -> float:
    """Return balanced accuracy by scikit-learn: fold by fold, weighted by cases."""
    values, weights = [], []
    for fold in cell.folds:
        keep = np.array([group != leave_out for group in fold.groups])
        values.append(balanced_accuracy_score(fold.targets[keep], fold.probabilities[keep].argmax(1)))
        weights.append(keep.sum())
    return float(np.average(values, weights=weights))


def test_balanced_accuracy_equals_a_jackknife_by_hand() -> None:
    a, b = cell("a", skill=1.0), cell("b", skill=0.3, run=1)
    found = judge_recipes([a, b], BALANCED, unit="patient")
    units = sorted(set(a.joined().groups))
    for one, estimate in zip((a, b), found.estimates, strict=True):
        assert estimate.mean == pytest.approx(by_folds(one))
    without = np.array([by_folds(a, unit) - by_folds(b, unit) for unit in units])
    se = np.sqrt((len(units) - 1) / len(units) * ((without - without.mean()) ** 2).sum())
    (pair,) = found.comparisons
    difference = by_folds(a) - by_folds(b)
    assert pair.raw_difference == pytest.approx(difference)
    assert pair.p == pytest.approx(2 * stats.t.sf(abs(difference) / se, 11))
    assert pair.ci == pytest.approx(stats.t.interval(0.95, 11, difference, se))
    assert (pair.test, pair.n_units, pair.unit) == ("jackknife t", 12, "patient")


def test_a_case_metric_equals_a_paired_t_over_unit_means() -> None:
    a, b = cell("a", skill=1.0), cell("b", skill=0.5, run=1)
    (pair,) = judge_recipes([a, b], LOG_LOSS, unit="patient").comparisons
    means = []
    for one in (a, b):
        p = one.joined()
        losses = -np.log(p.probabilities[np.arange(len(p)), p.targets])
        means.append([losses[[g == unit for g in p.groups]].mean() for unit in sorted(set(p.groups))])
    expected = stats.ttest_rel(*means)
    assert pair.p == pytest.approx(expected.pvalue)
    assert pair.raw_difference == pytest.approx(np.mean(means[0]) - np.mean(means[1]))


def test_scores_of_different_folds_are_never_pooled() -> None:
    a = cell("a", skill=1.0)
    shifted = replace(a, folds=(_shifted(a.folds[0]), *a.folds[1:]))
    one, two = (judge_recipes([each], AUROC, unit="patient").estimates[0].mean for each in (a, shifted))
    assert one == pytest.approx(two)
    pooled = [roc_auc_score(each.joined().targets, each.joined().probabilities[:, 1]) for each in (a, shifted)]
    assert abs(pooled[0] - pooled[1]) > 0.01  # so the test could see it


def _shifted(p: Predictions) -> Predictions:
    logits = p.logits + 4
    yes = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
    return replace(p, logits=logits, probabilities=np.stack([1 - yes, yes], axis=1))


@pytest.mark.parametrize(
    ("folds", "seeds", "each", "test"),
    [(1, 1, 1, "DeLong"), (3, 1, 1, "BCa bootstrap"), (1, 2, 1, "BCa bootstrap"), (1, 1, 2, "BCa bootstrap")],
)
def test_delong_only_for_one_run_on_single_cases(
    folds: int, seeds: int, each: int, test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allograft.metrics.judgement.RESAMPLES", 300)
    cells = [
        cell(name, skill=skill, units=60, each=each, folds=folds, seed=seed, run=10 * seed + i)
        for seed in range(seeds)
        for i, (name, skill) in enumerate([("a", 1.0), ("b", 0.2)])
    ]
    (pair,) = judge_recipes(cells, AUROC, unit="patient").comparisons
    assert (pair.test, pair.n_units) == (test, 60)


@pytest.mark.parametrize("metric", [BALANCED, AUROC, LOG_LOSS], ids=lambda metric: metric.name)
def test_identical_predictions_are_never_better(metric: object) -> None:
    cells = [cell("a", skill=1.0), cell("b", skill=1.0)]
    (pair,) = judge_recipes(cells, metric, unit="patient").comparisons  # type: ignore[arg-type]
    assert pair.difference == 0
    assert pair.verdict in {"equivalent", "no detectable difference"}


@pytest.mark.parametrize("metric", [BALANCED, AUROC, LOG_LOSS], ids=lambda metric: metric.name)
def test_a_clearly_better_recipe_is_better_on_12_units_and_cannot_be_told_on_5(metric: object) -> None:
    for units, folds, verdict in ((12, 3, "better"), (5, 1, "cannot tell")):
        cells = [
            cell(n, skill=s, units=units, folds=folds, run=r) for r, (n, s) in enumerate([("bad", 0), ("good", 1.5)])
        ]
        (pair,) = judge_recipes(cells, metric, unit="patient").comparisons  # type: ignore[arg-type]
        assert pair.verdict == verdict
        if verdict == "better":
            assert (pair.a, pair.b) == ("good", "bad")
            assert pair.difference > 0
        else:
            assert "5 patients" in pair.sentence()


def test_seeds_are_averaged_before_units_are_judged() -> None:
    cells = [cell("a", skill=1.0, seed=seed, run=seed) for seed in (2, 0, 1)]
    values = seed_values(cells, BALANCED, "a")
    assert list(values) == [0, 1, 2]
    assert values == pytest.approx({one.seed: by_folds(one) for one in cells})
    estimate = judge_recipes(cells, BALANCED, unit="patient").estimates[0]
    assert estimate.mean == pytest.approx(np.mean(list(values.values())))
    assert (estimate.n_units, estimate.seeds) == (12, 3)


def test_the_margin_decides_what_is_equivalent() -> None:
    cells = [cell("a", skill=1.0, units=100), cell("b", skill=1.0, units=100)]
    assert judge_recipes(cells, LOG_LOSS, unit="patient", margin=0.5).comparisons[0].verdict == "equivalent"
    other = [cells[0], cell("b", skill=1.0, units=100, run=1)]
    strict = judge_recipes(other, LOG_LOSS, unit="patient", margin=1e-4).comparisons[0]
    assert strict.verdict == "no detectable difference"
    assert strict.margin == 1e-4


def test_recipes_on_other_cases_are_refused() -> None:
    with pytest.raises(DataError, match="predicts other cases"):
        judge_recipes([cell("a", skill=1.0), cell("b", skill=1.0, units=9)], AUROC, unit="patient")
