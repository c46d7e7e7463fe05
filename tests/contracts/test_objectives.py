"""Every objective of the house keeps the contract; and each check of the contract can say no."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from allograft.contracts import HOUSE, Criterion, Loss, Method, StreamSpec
from allograft.objectives.cct import CCT
from allograft.objectives.cps import CPS
from allograft.objectives.cross_teaching import CrossTeaching
from allograft.objectives.deep_adversarial import DeepAdversarial
from allograft.objectives.gan import GAN
from allograft.objectives.localisation import Localisation
from allograft.objectives.multi_head import MultiHead
from allograft.objectives.multi_task import MultiTask
from allograft.objectives.supervised import Supervised
from allograft.objectives.task_loss import task_loss
from allograft.objectives.urpc import URPC
from allograft.testing.objectives import check_objective
from allograft.testing.training import tiny_task


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression", "segmentation"])
def test_supervised_keeps_the_contract_on_synthetic_batches(dims, kind):
    check_objective(Supervised(), dims, task=tiny_task(kind))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_multi_head_keeps_the_contract_on_synthetic_batches(dims, kind):
    check_objective(MultiHead(heads=("label",)), dims, task=tiny_task(kind))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "segmentation"])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "alternating"])
def test_multi_task_keeps_the_contract_on_synthetic_batches(dims, kind, weighting):
    check_objective(MultiTask(weighting=weighting), dims, task=tiny_task(kind))


@pytest.mark.parametrize("dims", [2, 3])
def test_localisation_keeps_the_contract_on_synthetic_batches(dims):
    check_objective(Localisation(), dims, task=tiny_task("segmentation"))


@pytest.mark.parametrize("dims", [2, 3])
def test_gan_keeps_the_contract_on_synthetic_batches(dims):
    check_objective(GAN(head="label", width=4, noise=4, levels=2), dims, task=tiny_task("binary"))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "segmentation"])
@pytest.mark.parametrize("objective", [CPS(), CrossTeaching(), CPS(joint_norm=True)])
def test_two_networks_keep_the_contract_on_synthetic_batches(dims, kind, objective):
    check_objective(objective, dims, task=tiny_task(kind))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["binary", "multilabel", "segmentation"])
@pytest.mark.parametrize("objective", [DeepAdversarial(width=4), CCT(), CCT(supervise="main", joint_norm=True), URPC()])
def test_perturbing_objectives_keep_the_contract_on_synthetic_batches(dims, kind, objective):
    check_objective(objective, dims, task=tiny_task(kind), order_matters=True)  # dropped channels differ by case


class _Faulty(Method):
    """An objective with one fault."""

    name: ClassVar[str] = "faulty"
    paper: ClassVar = HOUSE
    fault: str = ""

    def streams(self):
        return {"train": StreamSpec("train"), "more": StreamSpec("unlabelled", labelled=False)}

    def build(self, nets, task):
        return _FaultyCriterion(self.fault, task)


class _Weighted(_Faulty):
    """One whose weight does not switch it off."""

    weight: float = 1.0


class _FaultyCriterion(Criterion):
    def __init__(self, fault, task):
        super().__init__()
        self.fault, self.loss, self.calls = fault, task_loss(task), 0

    def forward(self, nets, batch, at, player):
        train = batch["train"]
        out = nets["net"](train.image)
        total = self.loss(out, train).total
        self.calls += 1
        parts = {"task": total.detach()}
        if self.fault == "graph in parts":
            parts = {"task": total}
        changed = CHANGES.get(self.fault, lambda total, *_: total)
        total = changed(total, nets["net"], out, train, batch["more"], self.calls)
        return Loss(total, parts)


def reads_unlabelled(total, net, out, train, more, calls):
    return total + 0 * more.targets["label"].sum() if "label" in more.targets else total


CHANGES = {
    "vector": lambda total, *_: total.repeat(2),
    "nan": lambda total, *_: total / 0 * 0,
    "detached": lambda total, net, *_: total.detach() + net.heads["label"].linear.weight.sum(),
    "reads unlabelled targets": reads_unlabelled,
    "reads absent targets": lambda total, net, out, train, *_: total + train.targets["label"].float().mean(),
    "order": lambda total, net, out, *_: total + out.pooled[0].sum(),
    "hidden state": lambda total, net, out, train, more, calls: total * (1 + calls),
}

FAULTS = {
    "vector": "shape",
    "nan": "is nan",
    "detached": "encoder",
    "graph in parts": "keep the graph",
    "reads unlabelled targets": "absent targets",
    "reads absent targets": "absent targets",
    "order": "order of cases",
    "hidden state": "differs after a stop",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contract_refuses_a_faulty_objective(fault):
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_objective(_Faulty(fault=fault), 2)


def test_contract_accepts_the_same_objective_without_fault():
    check_objective(_Faulty(), 2)


def test_contract_refuses_a_weight_that_does_not_switch_off():
    class Criterion0(_FaultyCriterion):
        def forward(self, nets, batch, at, player):
            loss = super().forward(nets, batch, at, player)
            return Loss(loss.total + nets["net"](batch["more"].image).pooled.square().mean(), loss.parts)

    _Weighted.build = lambda self, nets, task: Criterion0("", task)
    with pytest.raises(AssertionError, match="weight 0"):
        check_objective(_Weighted(), 2)
    assert torch.is_grad_enabled()
