"""Every tuning in the package's own loop: what the plan calls frozen stays bit by bit, the rest moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allograft.catalog import TUNINGS
from allograft.contracts import Budget, Optim
from allograft.nets.network import Network
from allograft.objectives.supervised import Supervised
from allograft.starts.full import Full
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training
from allograft.weights.apply import apply
from allograft.weights.plan import TransferPlan
from hand_loop import changed, snapshot
from tiny_source import tiny_source, trained_net

STEPS = 10
SETTINGS: dict[str, dict[str, Any]] = {"l2_sp": {"alpha": 1.0}}


def trained(tuned: str, dims: int, folder: Path, **optim: Any) -> tuple[TransferPlan, Network, dict[str, Any]]:
    """Start, tune and train for ten steps on synthetic images; return plan, network and its start."""
    task = tiny_task("multiclass")
    source = tiny_source(folder, trained_net(dims))
    net = tiny_net(dims, outputs=3)
    plan = Full().plan(net, source)
    apply(plan, net, source, seed=0)
    tuning = TUNINGS[tuned](**SETTINGS.get(tuned, {}))
    plan = tuning.learn(plan, STEPS)
    penalty = tuning.penalty(net, plan)
    start = snapshot(net)
    objective = Supervised()
    training = Training(
        plans={"net": plan},
        optim=Optim(**{"lr": 0.01, "weight_decay": 0.1, **optim}),
        budget=Budget(steps=STEPS, batch=8, evals=1),
        seed=0,
        penalties={} if penalty is None else {"net": penalty},
    )
    streams = TinyStreams(dims=dims, task=task, labelled=dict.fromkeys(objective.streams(), True))
    fit({"net": net}, objective.build({"net": net}, task), streams, training)
    return plan, net, start


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TUNINGS)
def test_frozen_rows_stay_bit_by_bit_and_learning_rows_move(
    name: str, dims: int, optimiser: str, tmp_path: Path
) -> None:
    plan, net, start = trained(name, dims, tmp_path, name=optimiser)
    moved = changed(start, snapshot(net))
    frozen = {entry.target for entry in plan.entries if entry.frozen}
    assert not frozen & moved
    # A convolution's bias before batch norm has no gradient but for rounding: it may stay.
    silent = {entry.target for entry in plan.entries if entry.target.endswith("conv.bias")}
    assert {entry.target for entry in plan.entries} - frozen - silent <= moved


@pytest.mark.parametrize("dims", [2, 3])
def test_l2_sp_ends_closer_to_its_start_than_full(dims: int, tmp_path: Path) -> None:
    ends = []
    for name in ("full", "l2_sp"):
        _, net, start = trained(name, dims, tmp_path, name="sgd", lr=0.05, weight_decay=0.0)
        after = snapshot(net)
        keys = [key for key, _ in net.named_parameters() if key.startswith("encoder.")]
        ends.append(float(sum((after[key] - start[key]).square().sum() for key in keys)))
    assert 0 < ends[1] < 0.8 * ends[0]
