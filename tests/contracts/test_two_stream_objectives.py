"""Objectives with an unlabelled stream and their teachers keep the contract, in every kind of task and dimension."""

from __future__ import annotations

from typing import Any

import pytest

from allograft.core.errors import ConfigError
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.fix_match import FixMatch
from allograft.objectives.ict import ICT
from allograft.objectives.mean_teacher import MeanTeacher
from allograft.objectives.r_drop import RDrop
from allograft.objectives.ua_mt import UAMT
from allograft.testing.objectives import check_objective
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task

NOISE = {"order_matters": True}
OBJECTIVES: dict[str, tuple[Any, dict[str, Any]]] = {
    "entropy": (EntropyMinimisation(), {}),
    "mean teacher": (MeanTeacher(), NOISE),
    "mean teacher handed on, joint": (MeanTeacher(hand_on="teacher", joint_norm=True, buffers="own"), NOISE),
    "UA-MT": (UAMT(passes=2), NOISE),
    "ICT": (ICT(), NOISE),
    "FixMatch": (FixMatch(threshold=0.4), {}),
    "R-Drop": (RDrop(), {"dropout": 0.3}),
}
KINDS = [(2, "multiclass"), (2, "binary"), (2, "multilabel"), (2, "segmentation"), (3, "segmentation"), (3, "binary")]


@pytest.mark.parametrize(("dims", "kind"), KINDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_stream_objectives_keep_the_contract_on_synthetic_batches(name: str, dims: int, kind: Any) -> None:
    objective, how = OBJECTIVES[name]
    check_objective(objective, dims, task=tiny_task(kind), **how)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_regression_is_refused_with_what_to_do(name: str) -> None:
    objective, how = OBJECTIVES[name]
    net = {"net": tiny_net(2, outputs=1)}
    if "dropout" in how:
        objective = objective.model_copy(update={"weight": 0.0})
    with pytest.raises(ConfigError, match="regression has none"):
        objective.build(net, tiny_task("regression"))
