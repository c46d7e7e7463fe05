"""Domains left out in turn: how parts are found again, and what is said over them; all numbers are synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from allograft.metrics import METRICS
from allograft.study.domain_gap import Shifted
from allograft.study.grid import Study
from allograft.study.left_out import judge_left_out, left_out_sets
from allograft.study.shift import apart
from allograft.study.summary import Estimate, Ranked, Table

ACCURACY = METRICS["accuracy"]


def facts(domains: str) -> dict[str, Any]:
    """Return the facts of a study whose data set was taken apart as study files are."""
    shift = {"target": list(domains), "leave_one_out": True}
    other = {"name": "own", "path": "x.csv", "shift": {"target": ["a"], "source": ["b"]}}
    specs = [*apart({"name": "cases", "path": "cases.csv", "shift": shift}), other]
    net = {"encoder": "resnet10_small"}
    text = {"study": "s", "datasets": specs, "baseline": "p", "recipes": [{"name": "p", "net": net}]}
    for spec in specs:
        spec["task"] = {"classes": ["x", "y"]}
    return {"spec": {"study": Study.from_data(text, where="test").model_dump(mode="json")}}


def table(domain: str, scores: Mapping[str, float | None]) -> Table:
    words: dict[str, Any] = dict.fromkeys(("start", "tuning", "objective", "procedure", "encoder"), "x")
    recipes = tuple(
        Ranked(
            name=name, estimate=Estimate(mean=mean), by_metric={}, by_class={}, by_seed={}, lrs=(), runs=1, seconds=1.0,
            coverage={}, source=None, **words,
        )
        for name, mean in scores.items()
    )  # fmt: skip
    return Table(
        dataset=f"cases-to-{domain}", label_fraction=1.0, unit="patient", n_units=9, n_cases=9, classes=("x", "y"),
        recipes=recipes, pairs=(),
        shift=Shifted(source=("other",), target=(domain,), source_only="p", target_supervised="u", rule=""),
    )  # fmt: skip


def test_parts_of_a_data_set_are_found_again_and_others_are_not_taken_for_such() -> None:
    assert left_out_sets(facts("abc")) == {"cases": {d: f"cases-to-{d}" for d in "abc"}}


def test_three_domains_give_means_and_counts_but_no_share() -> None:
    scores = {"a": (0.5, 0.9, 0.7), "b": (0.6, 0.8, 0.5), "c": (0.4, 1.0, 0.7)}
    tables = [table(d, dict(zip("pum", row, strict=True))) for d, row in scores.items()]
    (found,) = judge_left_out(tables, facts("abc"), ACCURACY)
    assert found.domains == ("a", "b", "c")
    assert list(found.means) == ["u", "m", "p"]
    assert found.means["m"] == pytest.approx(1.9 / 3)
    assert found.values["m"] == {"a": 0.7, "b": 0.5, "c": 0.7}
    assert found.better == {"u": 3, "m": 2}
    assert found.shares == {}
    assert "nobody can tell" in found.sentence


def test_from_six_domains_on_they_are_units() -> None:
    gaps = (0.3, 0.4, 0.2, 0.3, 0.5, 0.4)
    tables = [table(d, {"p": 0.5, "u": 0.5 + g, "m": 0.5 + g / 2}) for d, g in zip("abcdef", gaps, strict=True)]
    (found,) = judge_left_out(tables, facts("abcdef"), ACCURACY)
    assert found.shares == {"m": pytest.approx((0.5, 0.5, 0.5), abs=1e-6)}
    assert "one unit" in found.sentence
    lower = [table(d, {"p": 0.5, "u": 0.5 - g, "m": 0.5}) for d, g in zip("abcdef", gaps, strict=True)]
    assert judge_left_out(lower, facts("abcdef"), ACCURACY)[0].shares == {}  # no gap, no share


def test_domains_that_are_not_judged_yet_and_scores_that_are_missing_are_said() -> None:
    tables = [table("a", {"p": 0.5, "m": None}), table("b", {"p": 0.5, "m": 0.6})]
    (found,) = judge_left_out(tables, facts("abc"), ACCURACY)
    assert found.missing == ("c",)
    assert "Not judged yet: c." in found.sentence
    assert found.means["m"] is None
    assert found.better == {"m": 1}
