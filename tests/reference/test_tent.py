"""Tent: SciPy's entropy, what moves and what does not, answers that get surer and truer under synthetic contrast."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from allograft.contracts import Budget, Lab, Optim, Progress, Started
from allograft.core.errors import ConfigError
from allograft.data.case import Batch
from allograft.nets.batch_norms import restate
from allograft.nets.network import Network
from allograft.objectives.supervised import Supervised
from allograft.objectives.tent import Tent
from allograft.procedures.tent import TentAfterSource
from allograft.testing.objectives import check_objective
from allograft.testing.procedures import FakeLab
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training
from allograft.tunings.only import Only
from allograft.weights.kinds import is_norm

AT = Progress(1, 10)
KINDS = ["binary", "multiclass", "multilabel", "segmentation"]
ONLY = Only(kinds=("norm_affine", "norm_stat"))


def of(dims: int, kind: Any = "multiclass", **settings: Any) -> Network:
    net = tiny_net(dims, outputs=tiny_task(kind).outputs, decoder=kind == "segmentation", **settings)
    net.tasks = {"label": tiny_task(kind)}
    return net


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_scipys_entropy_of_the_answers(dims: int, kind: Any) -> None:
    net, task = of(dims, kind), tiny_task(kind)
    batch = tiny_batch(dims, task, labelled=False)
    criterion = Tent().build({"net": net}, task)
    logits = copy.deepcopy(net)(batch.image).logits["label"].detach().double().numpy()
    found = float(criterion({"net": net}, {"target": batch}, AT, "all").total.detach())
    if kind in {"binary", "multilabel"}:
        yes = 1 / (1 + np.exp(-logits))
        want = entropy(np.stack([yes, 1 - yes]), axis=0).mean()
    else:
        want = entropy(np.exp(logits), axis=1).mean()  # SciPy divides by the sum
    assert found == pytest.approx(want, rel=1e-4)
    assert 0 <= found <= math.log(task.outputs if logits.shape[1] > 1 and kind != "multilabel" else 2) + 1e-6


@pytest.mark.parametrize(("scale", "want"), [(0.0, math.log(3)), (1e5, 0.0)])
def test_even_answers_cost_ln_c_and_sure_ones_nothing_with_finite_gradients(scale: float, want: float) -> None:
    net, task = of(2), tiny_task()
    with torch.no_grad():
        for parameter in net.heads.parameters():
            parameter.mul_(scale)
    loss = Tent().build({"net": net}, task)({"net": net}, {"target": tiny_batch(2, task, labelled=False)}, AT, "all")
    loss.total.backward()
    assert float(loss.total.detach()) == pytest.approx(want, abs=1e-3)
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_contract_on_synthetic_batches(dims: int, kind: Any) -> None:
    check_objective(Tent(), dims, task=tiny_task(kind))


class Contrast:
    """Endless synthetic images of one contrast; without targets unless asked for."""

    def __init__(self, dims: int, task: Any, change: Any, stream: str = "target") -> None:
        self.dims, self.task, self.change, self.stream = dims, task, change, stream

    def at(self, step: int) -> dict[str, Batch]:
        made = tiny_batch(self.dims, self.task, size=24, seed=step, labelled=self.stream == "train")
        return {self.stream: replace(made, image=self.change(made.image))}


def train(net: Network, objective: Any, streams: Any, steps: int, plan: Any = None) -> None:
    nets, task = {"net": net}, streams.task
    how = Training(plans={"net": plan or tiny_plan(net)}, optim=Optim(lr=0.02), budget=Budget(steps=steps), seed=0)
    fit(nets, objective.build(nets, task), streams, how)


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation")])
@pytest.mark.parametrize("planned", [True, False])
def test_only_scales_shifts_and_statistics_move(dims: int, kind: Any, planned: bool) -> None:
    net, task = of(dims, kind), tiny_task(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plan = ONLY.learn(tiny_plan(net), 6) if planned else None
    train(net, Tent(), Contrast(dims, task, lambda x: x), 6, plan)
    norms = {name for name, module in net.named_modules() if is_norm(module)}
    for name, value in net.state_dict().items():
        layer, _, last = name.rpartition(".")
        deaf = (
            kind == "segmentation" and "encoder.layer" in name and last in {"weight", "bias"}
        )  # its decoder has level 0
        assert torch.equal(value, before[name]) == (layer not in norms or deaf), name


def test_the_mechanism_acts_answers_get_surer_and_truer_under_synthetic_contrast() -> None:
    task, net = tiny_task(), of(2, seed=1)

    def change(x: torch.Tensor) -> torch.Tensor:
        return 0.3 * x - 2.0

    train(net, Supervised(), Contrast(2, task, lambda x: x, "train"), 60)
    test = tiny_batch(2, task, size=200, seed=10_000)
    shifted = change(test.image)

    def says(network: Network) -> tuple[float, float]:
        with torch.no_grad():
            p = network.eval()(shifted).logits["label"].softmax(1)
        return float(torch.special.entr(p).sum(1).mean()), float((p.argmax(1) == test.targets["label"]).float().mean())

    rigid = copy.deepcopy(net)
    restate(rigid, [change(tiny_batch(2, task, size=64, seed=k).image) for k in range(4)])
    alone, _ = says(rigid)
    _, right = says(net)
    train(net, Tent(lr=0.01), Contrast(2, task, change), 40, ONLY.learn(tiny_plan(net), 40))
    restate(net, [change(tiny_batch(2, task, size=64, seed=k).image) for k in range(4)])
    unsure, now = says(net)
    assert unsure < 0.8 * alone  # surer than the same statistics without a step
    assert now > right + 0.2


@pytest.mark.parametrize("dims", [2, 3])
def test_two_stages_that_share_the_budget_and_a_second_that_reads_target_images_only(dims: int) -> None:
    lab = Recording(dims)
    net = TentAfterSource(share=0.25, passes=3).run(cast("Lab", lab))
    first, second = lab.asked
    assert (first.stage, first.share, second.stage, second.share) == ("source", 0.75, "tent", 0.25)
    assert first.objective.name == "supervised"
    assert isinstance(second.objective, Tent)
    (stream,) = second.objective.streams().values()
    assert (stream.role, stream.labelled) == ("target", False)
    assert lab.restated == [(lab.cohorts["target"].ids, 3)]
    assert net is lab.done["tent"]
    for name, value in lab.done["source"].state_dict().items():
        assert torch.equal(lab.begun[-1][name], value), name
    learns = second.tuning.learn(lab.plans[-1], 10)
    assert {entry.kind for entry in learns.entries if not entry.frozen} == {"norm_affine", "norm_stat"}


class Recording(FakeLab):
    """A lab that keeps what every stage begins with."""

    def train(self, stage: str, started: Started, **settings: Any) -> Network:
        self.begun = [*getattr(self, "begun", []), copy.deepcopy(started.net.state_dict())]
        self.plans = [*getattr(self, "plans", []), started.plan]
        return super().train(stage, started, **settings)


class Bare(FakeLab):
    """A lab whose networks have no normalisation."""

    def start(self, **settings: Any) -> Started:
        net = tiny_net(self.dims, outputs=1, norm="none")
        return Started(net, tiny_plan(net))


def test_without_scales_and_shifts_it_is_refused_before_any_training() -> None:
    lab = Bare()
    with pytest.raises(ConfigError, match="no normalisation layer with scale and shift"):
        TentAfterSource().run(cast("Lab", lab))
    assert not lab.asked
    with pytest.raises(ConfigError, match="no normalisation layer with scale and shift"):
        Tent().build({"net": tiny_net(2, norm="none")}, tiny_task())
    with pytest.raises(ConfigError, match="no classes to be sure of"):
        Tent().build({"net": tiny_net(2, outputs=1)}, tiny_task("regression"))


def test_layer_norm_counts_where_there_is_no_batch_norm() -> None:
    net = of(2, norm="none")
    net.encoder.stem["norm"] = nn.GroupNorm(2, 4)
    (player,) = Tent().build({"net": net}, tiny_task()).players({"net": net})
    assert [tuple(p.shape) for p in player.parameters] == [(4,), (4,)]
