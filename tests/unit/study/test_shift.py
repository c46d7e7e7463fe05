"""Shift: who is in which role, and that nobody can read the target's labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.study.blind_choice import embedded_risk
from allograft.study.casting import stand_in_roles
from allograft.study.grid import study_from
from allograft.study.shift import BLIND, Learn, Shift, shift_folds, shift_roles

TASK = Task(kind="binary", head="label", classes=("no", "yes"))
SHIFT = Shift(target=("B",), labels=2)


def cohort(*, patients: int = 9, shared: int = 0, unlabelled: int = 0) -> Cohort:
    """Return two cases of each patient at sites A, B and C; the first `shared` patients are at A and B."""
    cases = []
    for site in "ABC":
        for number in range(patients):
            who = f"p{number}" if number < shared and site in "AB" else f"p{site}{number}"
            for i in range(2):
                bare = site == "B" and number >= patients - unlabelled
                targets = {} if bare else {"label": number % 2}
                file = (Path(f"{site}{number}-{i}.png"),)
                cases.append(Case(id=f"{site}{number}-{i}", image=file, targets=targets, group=who, domain=site))
    return Cohort(name="two sites", task=TASK, cases=tuple(cases))


def domains(cases: Cohort) -> set[str]:
    return {case.domain for case in cases}


@pytest.mark.parametrize("shared", [0, 4, 9])
def test_no_patient_is_in_two_parts_of_a_fold_whichever_the_domain(shared: int) -> None:
    whole = cohort(shared=shared)
    cut = shift_folds(whole, SHIFT, 3, 0)
    assert len(cut) == 3
    for fold in cut:
        groups = [{whole[i].group for i in part} for part in (fold.train, fold.val, fold.test)]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        assert all({"A", "B", "C"} == {whole[i].domain for i in part} for part in (fold.train, fold.val, fold.test))
    tested = [i for fold in cut for i in fold.test if whole[i].domain == "B"]
    assert sorted(tested) == sorted(c.id for c in whole if c.domain == "B")


@pytest.mark.parametrize(
    ("learn", "train", "val"),
    [
        ("source", {"A", "C"}, {"A", "C"}),
        ("target", {"B"}, {"B"}),
        ("few", {"B"}, {"A", "C"}),
        ("both", set("ABC"), {"A", "C"}),
    ],
)
def test_roles_hold_labels_of_whom_the_recipe_learns_from(learn: Learn, train: set[str], val: set[str]) -> None:
    whole = cohort(unlabelled=1)
    fold = shift_folds(whole, SHIFT, 3, 0)[0]
    roles = shift_roles(whole, fold, SHIFT, learn, seed=1)
    assert domains(roles["train"]) == train
    assert domains(roles["val"]) == val
    assert domains(roles["target"]) == {"B"} == domains(roles[BLIND])
    assert not len(roles["target"].labelled())
    assert not len(roles[BLIND].labelled())
    assert not {*roles["train"].ids, *roles["target"].ids, *roles["val"].ids, *roles[BLIND].ids} & set(fold.test)
    assert not set(roles["train"].ids) & set(roles["unlabelled"].ids if "unlabelled" in roles else ())
    few = [case for case in roles["train"] if case.domain == "B"]
    assert len(few) == {"source": 0, "few": 2, "both": 2}.get(learn, len(few))
    assert any(case.id not in whole.labelled().ids for case in roles["target"]), "unlabelled target cases take part"


def test_the_roles_of_a_plan_are_those_of_a_run() -> None:
    whole = cohort()
    fold = shift_folds(whole, SHIFT, 3, 0)[0]
    for learn in ("source", "both", "few", "target"):
        run, plan = shift_roles(whole, fold, SHIFT, learn, seed=0), stand_in_roles(whole, SHIFT, learn)
        assert set(run) - {BLIND} == set(plan)


def test_too_few_labels_are_refused_by_name() -> None:
    whole = cohort()
    fold = shift_folds(whole, SHIFT, 3, 0)[0]
    for labels in (0, 1000):
        with pytest.raises(ConfigError, match=r"shift\.labels between 1 and the 6 "):
            shift_roles(whole, fold, Shift(target=("B",), labels=labels), "few", seed=0)


def test_wrong_domains_are_named() -> None:
    with pytest.raises(ConfigError, match='no domain "D"'):
        Shift(target=("D",)).of(cohort())
    with pytest.raises(ConfigError, match="no case of"):
        Shift(target=("A", "B", "C")).of(cohort())
    with pytest.raises(ValueError, match="source and target"):
        Shift(target=("A",), source=("A", "B"))
    with pytest.raises(DataError, match="target domains cannot be split"):
        shift_folds(cohort(patients=2), SHIFT, 3, 0)
    assert domains(Shift(target=("B",), source=("A",)).of(cohort())) == {"A", "B"}


def fields(**more: object) -> dict[str, object]:
    data = {"name": "scans", "path": "x.csv", "image": "i", "label": "l", "domain": "site"}
    recipe = {"name": "plain", "net": {"encoder": "cbr_tiny"}}
    return {"study": "s", "baseline": "plain", "recipes": [recipe], "datasets": [{**data, **more}]}


def test_leave_one_out_makes_a_table_of_each_domain() -> None:
    found = study_from(fields(shift={"target": ["a", "b", "c"], "leave_one_out": True}), where="test").datasets
    assert [data.name for data in found] == ["scans-to-a", "scans-to-b", "scans-to-c"]
    assert [(data.shift.source, data.shift.target) for data in found if data.shift] == [
        (("b", "c"), ("a",)),
        (("a", "c"), ("b",)),
        (("a", "b"), ("c",)),
    ]


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ({**fields(shift={"target": ["b"]}), "label_counts": [3]}, r"shift\.labels"),
        ({**fields(), "select_by": "entropy"}, "needs a shift"),
        ({**fields(), "recipes": [{"name": "plain", "net": {"encoder": "cbr_tiny"}, "learn": "few"}]}, "needs a shift"),
        (fields(shift={"target": ["b"], "leave_one_out": True}), "two or more"),
    ],
)
def test_a_study_says_what_does_not_go_with_a_shift(study: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        study_from(study, where="test")


def test_recipes_without_the_new_fields_keep_their_run_ids() -> None:
    study = study_from(fields(), where="test")
    keys = list(study.keys({"scans": {}}, {"scans": [(0, 1.0)]}))
    assert [key.id for key in keys] == ["89340fb82b599c2b", "5d66242377cbd95f", "b31b64ed39c04d46"]


def test_importance_weighted_risk_on_synthetic_losses() -> None:
    rng = np.random.default_rng(0)
    losses = rng.uniform(0, 2, 50)
    assert embedded_risk(losses, np.ones(50)) == pytest.approx(losses.mean())
    weights = rng.uniform(0, 2, 4000)
    high = (weights > 1).astype(float)  # cases that look like the target are the ones it gets wrong
    assert high.mean() < 0.55
    assert embedded_risk(high, weights) > 0.65
    assert embedded_risk(np.full(4000, 3.0), weights) == pytest.approx(3.0), "the control variate takes the weights out"
