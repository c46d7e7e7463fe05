"""Labels needed: curves from milestones of synthetic runs, targets by rule, censored seeds, savings over pairs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.report.asked import asked
from allograft.report.style import looks
from allograft.stats.convergence import Reached
from allograft.study.label_needs import label_needs, saving
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Summary

ACCURACY: Metric = METRICS["accuracy"] if isinstance(METRICS["accuracy"], Metric) else METRICS["accuracy"]()
SCORES = {  # by recipe and seed: scores with 10, 20, 30, 40 labels
    "blind": {0: (0.5, 0.6, 0.7, 0.8), 1: (0.5, 0.55, 0.6, 0.8)},
    "unsure": {0: (0.5, 0.7, 0.8, 0.9), 1: (0.5, 0.6, 0.8, 0.85)},
    "medal": {0: (0.5, 0.8, 0.85, 0.9), 1: (0.5, 0.8, 0.9, 0.9)},
    "plain": {},
}
ASKS = {"blind": "random", "unsure": "entropy", "medal": "medal"}


def study(folder: Path, scores: Any = SCORES, **facts: Any) -> tuple[Any, ...]:
    """Write milestones of synthetic runs in two folds; return the arguments of `label_needs`."""
    store, keys = RunStore(folder), []
    for recipe, seeds in scores.items():
        for seed, values in seeds.items():
            for fold in (0, 1):
                key = RunKey(
                    id=f"{recipe}{seed}{fold}", recipe=recipe, dataset="d", fold=fold, seed=seed, label_fraction=0.1
                )
                keys.append(key)
                shift = 0.02 if fold else -0.02
                rows = [
                    {"stage": f"round-{i}", "labels": 10 * (i + 1), "scores": {"accuracy": v + shift}}
                    for i, v in enumerate(values)
                ]
                where = store.run_folder(key.id)
                where.mkdir(parents=True)
                (where / "milestones.json").write_text(json.dumps(rows))
    recipes = [
        {"name": n, "procedure": {"active_learning": {"acquisition": {ASKS[n]: {}}}} if n in ASKS else {"finetune": {}}}
        for n in scores
    ]
    found = {
        "spec": {"study": {"recipes": recipes}},
        "keys": [key.model_dump(mode="json") for key in keys],
        "baseline": "plain",
        "margin": None,
        **facts,
    }
    return store, found, keys, ACCURACY, ()


def test_needs_by_hand_in_paired_seeds(tmp_path: Path) -> None:
    (need,) = label_needs(*study(tmp_path, label_target=0.79))
    assert need.rule.startswith("0.79")
    assert {n.recipe: n.by_seed for n in need.needs} == {
        "blind": {"0": 40, "1": 40},
        "unsure": {"0": 30, "1": 30},
        "medal": {"0": 20, "1": 20},
    }
    by_pair = {(s.recipe, s.against): s for s in need.savings}
    assert set(by_pair) == {("unsure", "blind"), ("medal", "blind"), ("medal", "unsure")}
    assert by_pair["medal", "blind"].percent == pytest.approx(50)
    assert by_pair["medal", "unsure"].percent == pytest.approx(100 / 3)
    (curve,) = [c for c in need.curves if c.recipe == "medal"]
    assert curve.x == (10, 20, 30, 40)
    assert np.allclose(curve.mean, (0.5, 0.8, 0.875, 0.9)), "folds are averaged within a seed"
    interval = stats.t.interval(0.95, 1, loc=0.875, scale=stats.sem([0.85, 0.9]))
    assert (curve.low[2], curve.high[2]) == pytest.approx((interval[0], min(1.0, interval[1])))


def test_a_seed_that_never_gets_there_is_censored_and_bounds_the_saving(tmp_path: Path) -> None:
    (need,) = label_needs(*study(tmp_path, label_target=0.84))
    blind = next(n for n in need.needs if n.recipe == "blind")
    assert blind.labels is None
    assert blind.by_seed == {"0": None, "1": None}
    assert blind.at_least == blind.last == 40
    found = next(s for s in need.savings if (s.recipe, s.against) == ("medal", "blind"))
    assert found.bound == "at least"
    assert found.percent == pytest.approx(100 * (1 - math.sqrt(30 / 40 * 30 / 40)))
    assert found.low is None


def test_savings_at_each_kind_of_censoring() -> None:
    got, never = Reached(20, 40, 10), Reached(None, 40, 0)
    assert saving({"0": never}, {"0": got}, recipe="a", against="b").bound == "at most"
    assert saving({"0": never}, {"0": got}, recipe="a", against="b").percent == pytest.approx(-100)
    neither = saving({"0": never}, {"0": never}, recipe="a", against="b")
    assert (neither.percent, neither.seeds, neither.of, neither.bound) == (None, 0, 1, "unknown")
    easy = saving({"0": got, "1": got, "2": never}, {"0": got, "1": got, "2": never}, recipe="a", against="b")
    assert (easy.percent, easy.seeds, easy.of, easy.low) == (0, 2, 3, None), "the others may be the easy seeds"
    both = saving({"0": never, "1": got}, {"0": got, "1": never}, recipe="a", against="b")
    assert (both.percent, both.bound) == (None, "unknown")


def test_the_interval_is_that_of_the_log_ratios() -> None:
    arm = {str(i): Reached(n, 100, 10) for i, n in enumerate((20, 30, 20, 40))}
    other = {str(i): Reached(n, 100, 10) for i, n in enumerate((40, 50, 60, 50))}
    found = saving(arm, other, recipe="a", against="b")
    logs = np.log(np.array([20, 30, 20, 40]) / np.array([40, 50, 60, 50]))
    low, high = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert found.percent == pytest.approx(100 * (1 - stats.gmean([0.5, 0.6, 1 / 3, 0.8])))
    assert (found.low, found.high) == pytest.approx((100 * (1 - np.exp(high)), 100 * (1 - np.exp(low))))
    assert saving(other, arm, recipe="b", against="a").percent < 0  # type: ignore[operator]


def test_without_a_target_of_its_own_the_rule_says_where_it_comes_from(tmp_path: Path) -> None:
    (need,) = label_needs(*study(tmp_path / "a"))
    assert need.rule.startswith("blind with the most labels it had (0.800")
    assert need.target == pytest.approx(0.8 - ACCURACY.margin)
    (own,) = label_needs(*study(tmp_path / "b", baseline="medal", margin=0.1))
    assert own.target == pytest.approx(0.8)
    assert "medal" in own.rule


def test_seeds_that_are_unfinished_for_one_recipe_count_for_none(tmp_path: Path) -> None:
    store, facts, keys, *rest = study(tmp_path, label_target=0.79)
    left = [key for key in keys if key.id != "medal11"]
    (need,) = label_needs(store, facts, left, *rest)
    assert all(set(n.by_seed) == {"0"} for n in need.needs)


def test_the_report_shows_curve_needs_and_savings(tmp_path: Path) -> None:
    needs = label_needs(*study(tmp_path, label_target=0.84))
    summary = Summary(
        study="s", metric="accuracy", metric_title="accuracy", larger_is_better=True, baseline="blind", headline=(),
        tables=(), label_needs=needs, plans={name: {} for name in SCORES},
    )  # fmt: skip
    (shown,) = asked(summary, looks(summary))
    assert [name for name, _ in shown.legend] == ["blind", "unsure", "medal"]
    assert "<svg" in shown.drawn["wide"]
    assert "medal" in shown.drawn["wide"]
    cells = [cell.text for row in shown.needs.rows for cell in row]
    assert "more than 40" in cells
    assert "> 40 · > 40" in cells
    assert shown.savings is not None
    assert any(cell.text.startswith("at least") for row in shown.savings.rows for cell in row)
