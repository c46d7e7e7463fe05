"""Mixed: PyTorch's cross-entropy over a joint batch of true and pseudo-labels."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from allograft.contracts import Progress
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.mixed import Mixed
from allograft.objectives.supervised import Supervised
from allograft.study.roles import stream_counts
from allograft.testing.objectives import check_objective
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_task

AT = Progress(0, 10)


def soft_batch(dims: int, size: int) -> tuple[Batch, torch.Tensor]:
    """Return a synthetic batch of three classes whose targets are probabilities, and these."""
    task = tiny_task("multiclass")
    q = torch.rand(size, len(task.classes), generator=torch.Generator().manual_seed(3)).softmax(1)
    return replace(tiny_batch(dims, task, size=size, seed=5), targets={"label": q}), q


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("joint", [True, False])
def test_equals_pytorchs_cross_entropy_over_the_joint_synthetic_batch(dims: int, joint: bool) -> None:
    task = tiny_task("multiclass")
    net, train = tiny_net(dims, outputs=task.outputs).eval(), tiny_batch(dims, task, size=4, seed=2)
    pseudo, q = soft_batch(dims, 8)
    loss = Mixed(ratio=2, joint_norm=joint).build({"net": net}, task)(
        {"net": net}, {"train": train, "pseudo": pseudo}, AT, "all"
    )
    logits = [net(each.image).logits["label"] for each in (train, pseudo)]
    sums = (
        F.cross_entropy(logits[0], train.targets["label"], reduction="sum"),
        F.cross_entropy(logits[1], q, reduction="sum"),
    )
    torch.testing.assert_close(loss.total, (sums[0] + sums[1]) / 12)


class Given(Network):
    """Says given logits of whatever it sees."""

    def __init__(self, logits: torch.Tensor) -> None:
        whole = tiny_net(2, outputs=logits.shape[1])
        super().__init__(whole.encoder, dict(whole.heads.items()))  # type: ignore[arg-type]
        self.said = logits

    def forward(self, x: Any) -> Any:
        out = super().forward(x)
        return out._replace(logits={"label": self.said[: len(x)]})


def test_the_worked_soft_and_hard_cross_entropy_and_the_gradient_of_the_divergence() -> None:
    task = tiny_task("multiclass")
    logits = torch.tensor([[1.0, 0.5, -1.0]], requires_grad=True)
    q = torch.tensor([[0.7, 0.2, 0.1]])
    net = Given(logits)
    one = replace(tiny_batch(2, task, size=1), targets={"label": torch.tensor([0])})
    criterion = Mixed(joint_norm=False).build({"net": net}, task)

    def pseudo(target: torch.Tensor) -> torch.Tensor:
        batch = {"train": one, "pseudo": replace(one, targets={"label": target})}
        return criterion({"net": net}, batch, AT, "all").parts["pseudo"]

    assert float(pseudo(q)) == pytest.approx(0.8549569, abs=1e-6)
    assert float(pseudo(torch.tensor([0]))) == pytest.approx(0.5549570, abs=1e-6)
    soft = criterion.loss(net(one.image), replace(one, targets={"label": q})).total
    (gradient,) = torch.autograd.grad(soft, logits)
    divergence = F.kl_div(logits.log_softmax(1), q, reduction="batchmean")
    assert float(divergence.detach()) == pytest.approx(0.0531384, abs=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(divergence, logits)[0])


@pytest.mark.parametrize("kind", ["multiclass", "binary", "segmentation"])
def test_ratio_0_is_supervised_training_bit_for_bit(kind: Any) -> None:
    task = tiny_task(kind)
    assert Mixed(ratio=0).streams() == Supervised().streams()
    net, batch = tiny_net(2, outputs=task.outputs, decoder=kind == "segmentation"), {"train": tiny_batch(2, task)}
    found = []
    for objective in (Mixed(ratio=0), Supervised()):
        own = copy.deepcopy(net)
        loss = objective.build({"net": own}, task)({"net": own}, batch, AT, "all")
        loss.total.backward()
        found.append([loss.total.detach(), *(p.grad for p in own.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_step_has_as_many_cases_as_a_supervised_one() -> None:
    for ratio, want in ((1, (16, 16)), (3, (8, 24)), (7, (4, 28))):
        counts = stream_counts(Mixed(ratio=ratio).streams(), 32)
        assert (counts["train"], counts["pseudo"]) == want


def test_the_mechanism_acts_pseudo_labels_move_the_gradient() -> None:
    task = tiny_task("multiclass")
    found = []
    for turn in (0, 1):
        net = tiny_net(2, outputs=task.outputs)
        pseudo, q = soft_batch(2, 4)
        batch = {
            "train": tiny_batch(2, task, size=4),
            "pseudo": replace(pseudo, targets={"label": q.roll(turn, dims=1)}),
        }
        Mixed().build({"net": net}, task)({"net": net}, batch, AT, "all").total.backward()
        found.append(torch.cat([p.grad.flatten() for p in net.heads.parameters() if p.grad is not None]))
    assert not torch.allclose(*found)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "segmentation"])
def test_mixed_keeps_the_contract_on_synthetic_batches(dims: int, kind: Any) -> None:
    check_objective(Mixed(), dims, task=tiny_task(kind))
