"""Contract of a procedure: stages with names of their own, only what the lab gives, the same when repeated.

A `FakeLab` trains nothing; it writes down what it is asked for and moves the network's heads a little,
so that a procedure runs in milliseconds. Each check raises AssertionError with what is wrong.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from allograft.contracts import Lab, Method, Objective, Procedure
from allograft.core.task import Task
from allograft.nets.network import Network
from allograft.objectives.supervised import Supervised
from allograft.testing.fake_lab import Asked, FakeLab, synthetic_cohort
from allograft.testing.methods import check_method

__all__ = ["Asked", "FakeLab", "check_procedure", "synthetic_cohort"]


def check_procedure(
    procedure: Procedure, *, dims: int = 2, objective: Objective | None = None, task: Task | None = None
) -> None:
    """Check a procedure's settings, stages, cases, and that it can be killed after any stage and go on.

    Args:
        procedure: what is checked.
        dims: 2 or 3.
        objective: of the recipe, where the procedure needs another than the plain one.
        task: what is predicted, where the procedure needs another than two classes of cases; of a segmentation the
            network is one of voxel features.

    Raises:
        AssertionError: names the stage and what is wrong.
    """
    check_method(cast("Method", procedure))
    given: dict[str, Any] = {"objective": objective or Supervised(), **({"task": task} if task else {})}
    whole, net = _run(procedure, FakeLab(dims, **given))
    names = [asked.stage for asked in whole.asked]
    assert names, "the procedure trains nothing"
    assert len(set(names)) == len(names), f"stage names are not unique: {names}"
    assert isinstance(net, Network), f"the procedure returned a {type(net).__name__}, expected the network to be judged"
    assert all(asked.share > 0 for asked in whole.asked), "a stage has no share of the steps"
    _check_cases(whole)
    again, same = _run(procedure, FakeLab(dims, **given))
    assert again.asked == whole.asked, "asked for other stages when run again: a draw does not go through lab.seed"
    assert _equal(net, same), "gave another network when run again"
    for count in range(1, len(names) + 1):
        resumed, late = _run(procedure, FakeLab(dims, **given, finished={n: whole.done[n] for n in names[:count]}))
        assert [asked.stage for asked in resumed.asked] == names, f"other stages when resumed after {names[count - 1]}"
        assert _equal(net, late), f"another network when resumed after {names[count - 1]}"


def _run(procedure: Procedure, lab: FakeLab) -> tuple[FakeLab, Network]:
    return lab, procedure.run(cast("Lab", lab))


def _check_cases(lab: FakeLab) -> None:
    """Only cases of the lab, and no validation case in training."""
    known = {name for cohort in lab.cohorts.values() for name in cohort.ids}
    validation = {name for role, cohort in lab.cohorts.items() if role.startswith("val") for name in cohort.ids}
    judges = [set(cohort.ids) for role, cohort in lab.cohorts.items() if role == "val" or role.startswith("val:")]
    for asked in lab.asked:
        for role, ids in asked.ids.items():
            assert set(ids) <= known, f"stage {asked.stage}: {role} has cases that the lab did not give"
            if not role.startswith("val"):
                assert not set(ids) & validation, f"stage {asked.stage}: {role} trains on validation cases"
        assert set(asked.ids["val"]) in judges, f"stage {asked.stage}: validated on other cases than the study's"
    assert {name for ids, _ in lab.restated for name in ids} <= known - validation, "measured statistics on other cases"
    assert set(lab.predicted) <= known, "predicted cases that the lab did not give"


def _equal(a: Network, b: Network) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
