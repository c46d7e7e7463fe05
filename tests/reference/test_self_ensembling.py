"""Self-ensembling: one frame of reference, a teacher without gradient, and a student that is pulled."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from allograft.contracts import Budget, Optim, Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.transforms.affine import Affine
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.flip import Flip
from allograft.functional.consistency import shares
from allograft.nets.layers import conv
from allograft.nets.network import Network
from allograft.objectives.self_ensembling import SelfEnsembling
from allograft.objectives.supervised import Supervised
from allograft.testing.objectives import check_objective
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training
from two_stream_loop import Dropped, assert_same, tiny

AT = Progress(5, 10)
NONE = Augment()
MIRROR = Augment(transforms=(Flip(p=1.0, axes=(-1,)),))
TURN = Augment(transforms=(Flip(p=0.5, axes=(-1, -2)), {"kind": "rotate90", "p": 0.5}))  # type: ignore[arg-type]


def batches(dims: int, task: Task, *, step: int = 0) -> dict[str, Batch]:
    return {
        "source": tiny_batch(dims, task, size=4, seed=2 * step),
        "target": tiny_batch(dims, task, size=6, seed=2 * step + 1, labelled=False),
    }


def moved_teacher(criterion: Any) -> Any:
    with torch.no_grad():
        for parameter in criterion.teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return criterion


def value(criterion: Any, net: Network, batch: Mapping[str, Batch]) -> float:
    return float(criterion({"net": net}, batch, AT, "all").parts["unsupervised"])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "segmentation"])
def test_the_term_is_the_squared_distance_to_the_teachers_moved_answer(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = batches(dims, task)
    criterion = moved_teacher(SelfEnsembling(weight=2, ramp=0, moves=MIRROR).build({"net": net}, task))
    student, teacher = copy.deepcopy(net), copy.deepcopy(criterion.teacher)
    loss = criterion({"net": net}, batch, AT, "all")
    image = batch["target"].image
    a, b = student(image.flip(-1)).logits["label"], teacher(image).logits["label"]
    b = b.flip(-1) if kind == "segmentation" else b
    if kind in {"binary", "multilabel"}:
        want = (a.sigmoid() - b.sigmoid()).square().mean()  # of p and of 1 - p the same
    else:
        want = (a.softmax(1) - b.softmax(1)).square().mean()
    assert float(loss.parts["unsupervised"]) == pytest.approx(float(want.detach()), rel=1e-4)
    torch.testing.assert_close(loss.total.detach(), loss.parts["task"] + 2 * loss.parts["unsupervised"])
    if kind == "segmentation":
        wrong = (a.softmax(1) - teacher(image).logits["label"].softmax(1)).square().mean()
        assert float(wrong.detach()) != pytest.approx(float(want.detach()), rel=1e-3)  # in two frames another number


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation")])
def test_without_moves_and_dropout_a_teacher_equal_to_the_student_costs_0(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    assert value(SelfEnsembling(moves=NONE).build({"net": net}, task), net, batches(dims, task)) == 0
    other = moved_teacher(SelfEnsembling(moves=NONE).build({"net": net}, task))
    assert value(other, net, batches(dims, task)) > 1e-4
    net.heads["label"] = Dropped(net.heads["label"], 0.5)
    assert value(SelfEnsembling(moves=NONE).build({"net": net}, task), net, batches(dims, task)) > 1e-5


class Pointwise(nn.Module):
    """An encoder that looks at single elements, so it turns with its input."""

    strides, channels = (1,), (5,)

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, 3
        self.conv = conv(dims, (3, 5), 1, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.relu(self.conv(x)),)


class Top(nn.Module):
    channels = 5

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        return levels[0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("moves", [MIRROR, TURN])
def test_answers_move_with_the_image_of_a_network_that_turns_with_its_input(dims: int, moves: Augment) -> None:
    task = tiny_task("segmentation")
    head = tiny_net(dims, outputs=3, decoder=True, widths=(5, 6)).heads["label"]
    head.conv = conv(dims, (5, 3), 1, bias=True)
    net = Network(Pointwise(dims), {"label": head}, Top())
    image = torch.randn(6, 3, *[8] * dims)
    draws = [moves.draw(np.random.default_rng(k), tuple(image.shape[1:])) for k in range(6)]
    one = shares(net(moves.apply_batch(image, draws)).logits["label"], "segmentation")
    two = moves.apply_batch(shares(net(image).logits["label"], "segmentation"), draws)
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one, shares(net(image).logits["label"], "segmentation"))
    assert value(SelfEnsembling(moves=moves).build({"net": net}, task), net, batches(dims, task)) < 1e-10


@pytest.mark.parametrize("dims", [2, 3])
def test_an_affine_move_of_probabilities_leaves_them_probabilities(dims: int) -> None:
    moves = Augment(transforms=(Affine(rotate=30, scale=0.2, translate=0.1),))
    p = torch.rand(3, 4, *[9] * dims).softmax(1)
    draws = [moves.draw(np.random.default_rng(k), (4, *[9] * dims)) for k in range(3)]
    out = moves.apply_batch(p, draws)
    torch.testing.assert_close(out.sum(1), torch.ones(3, *[9] * dims))
    assert float(out.min()) >= 0
    assert not torch.allclose(out, p)


def test_the_teacher_gets_no_gradient_and_is_moved_by_nobody() -> None:
    net, task = tiny(3, "segmentation")
    criterion = moved_teacher(SelfEnsembling(ramp=0).build({"net": net}, task))
    before = copy.deepcopy(criterion.teacher)
    criterion({"net": net}, batches(3, task), AT, "all").total.backward()
    assert all(p.grad is None and not p.requires_grad for p in criterion.teacher.parameters())
    assert all(p.grad is not None for p in net.decoder.parameters())
    assert all(torch.equal(p, before.get_parameter(name)) for name, p in criterion.teacher.named_parameters())
    mine = {id(p) for p in criterion.teacher.parameters()}
    assert not any(id(p) in mine for player in criterion.players({"net": net}) for p in player.parameters)


@pytest.mark.parametrize(("step", "want"), [(0, 0.0), (3, 0.75), (499, 0.99), (500, 0.998), (2000, 0.999)])
def test_the_teacher_follows_slower_from_a_seventh_of_the_training_on(step: int, want: float) -> None:
    found = SelfEnsembling().decay_at(Progress(step, 3500))
    assert found == pytest.approx(want, abs=1e-4)


class Endless:
    def __init__(self, dims: int, task: Task, stop: int | None = None) -> None:
        self.dims, self.task, self.stop = dims, task, stop

    def at(self, step: int) -> Mapping[str, Batch]:
        if step == self.stop:
            raise KeyboardInterrupt
        found = batches(self.dims, self.task, step=step)
        return {**found, "train": found["source"]}


def train(
    objective: Any, net: Network, task: Task, dims: int, where: Path | None = None, stop: int | None = None
) -> Any:
    nets = {"net": net}
    criterion = objective.build(nets, task)
    how = Training(plans={"net": tiny_plan(net)}, optim=Optim(lr=0.01), budget=Budget(steps=6, evals=1), seed=0)
    fit(nets, criterion, Endless(dims, task, stop), Training(**{**vars(how), "save_every": 1}), where=where)
    return criterion


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation")])
def test_weight_0_is_supervised_training_bit_for_bit(dims: int, kind: Any) -> None:
    (one, task), (two, _), (three, _) = (tiny(dims, kind, dropout=0.2) for _ in range(3))
    train(SelfEnsembling(weight=0), one, task, dims)
    train(Supervised(), two, task, dims)
    train(SelfEnsembling(ramp=0), three, task, dims)
    assert_same(one, two)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def test_resumed_training_is_bit_for_bit_the_teacher_and_the_moves_included(tmp_path: Path) -> None:
    (whole, task), (cut, _), (again, _) = (tiny(2, dropout=0.2) for _ in range(3))
    full = train(SelfEnsembling(ramp=0), whole, task, 2)
    with pytest.raises(KeyboardInterrupt):
        train(SelfEnsembling(ramp=0), cut, task, 2, tmp_path, stop=3)
    resumed = train(SelfEnsembling(ramp=0), again, task, 2, tmp_path)
    assert_same(whole, again)
    assert_same(full, resumed)
    assert full.result({"net": whole}) is full.teacher


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (2, "segmentation"), (3, "binary"), (3, "segmentation")])
def test_keeps_the_contract_on_synthetic_batches(dims: int, kind: Any) -> None:
    check_objective(SelfEnsembling(), dims, task=tiny_task(kind), order_matters=True)


def test_the_mechanism_acts_the_student_is_pulled_to_the_moved_answer() -> None:
    net, task = tiny(2, "segmentation")
    criterion = moved_teacher(SelfEnsembling(weight=1, ramp=0, moves=MIRROR).build({"net": net}, task))
    batch, found = batches(2, task), []
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        loss = criterion({"net": net}, batch, AT, "all")
        found.append(float(loss.parts["unsupervised"]))
        (loss.total - criterion.plain(net(batch["source"].image), batch["source"]).total).backward()
        optimiser.step()
    assert found[-1] < 0.3 * found[0]


def test_streams_are_source_with_and_target_without_labels_and_values_may_not_change() -> None:
    streams = SelfEnsembling().streams()
    assert {name: (s.role, s.labelled) for name, s in streams.items()} == {
        "source": ("train", True),
        "target": ("target", False),
    }
    assert SelfEnsembling.model_validate({"moves": ["flip", {"affine": {"rotate": 5}}]}).moves.steps[0].kind == "flip"
    for wrong in ("light", ["noise"], ["rand_augment"], ["cutout"]):
        with pytest.raises(ValidationError, match="changes values"):
            SelfEnsembling.model_validate({"moves": wrong})
    with pytest.raises(ConfigError, match="regression has none"):
        SelfEnsembling().build({"net": tiny_net(2, outputs=1)}, tiny_task("regression"))
    assert TinyStreams(2, tiny_task(), {"source": True}).at(0)["source"].targets
