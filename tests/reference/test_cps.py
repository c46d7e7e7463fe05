"""CPS: PyTorch's cross-entropies, symmetry, weight 0, and who learns from whom; on synthetic batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cotrain_material import assert_is_supervised, batches, built, differs, loss_of, networks

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.objectives.cps import CPS
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_task

KINDS = ["multiclass", "binary", "multilabel", "segmentation"]


def entropy(kind, logits, other):
    """Return PyTorch's cross-entropy of the other's decisions, typed here."""
    if kind in {"multiclass", "segmentation"}:
        return F.cross_entropy(logits, other.softmax(1).argmax(1))
    found = F.binary_cross_entropy_with_logits(logits, (other.sigmoid() > 0.5).float(), reduction="none")
    return found.sum(1).sum() / found.numel()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_pytorchs_cross_entropies_on_synthetic_batches(dims, kind):
    nets, batch = networks(dims, kind, "other"), batches(dims, kind)
    found = loss_of(built(CPS(weight=0.7), nets, tiny_task(kind)), nets, batch)
    one, two = (net(batch["unlabelled"].image).logits["label"] for net in nets.values())
    task = [
        loss_of(built(Supervised(), {"net": net}, tiny_task(kind)), {"net": net}, batch).total for net in nets.values()
    ]
    want = task[0] + task[1] + 0.7 * (entropy(kind, one, two.detach()) + entropy(kind, two, one.detach()))
    torch.testing.assert_close(found.total, want)
    early = loss_of(built(CPS(weight=0.7), nets, tiny_task(kind)), nets, batch, at=Progress(0, 10))
    torch.testing.assert_close(early.parts["unsupervised_weight"], torch.tensor(0.7 * 0.006737947))


@pytest.mark.parametrize("kind", KINDS)
def test_is_symmetric_under_swapping_the_networks(kind):
    nets, batch = networks(2, kind, "other"), batches(2, kind)
    turned = {"net": nets["other"], "other": nets["net"]}
    one, two = (loss_of(built(CPS(weight=1), both, tiny_task(kind)), both, batch) for both in (nets, turned))
    torch.testing.assert_close(one.total, two.total)
    assert one.parts["task"] == two.parts["task_other"] != one.parts["task_other"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_weight_zero_is_supervised_training_bit_for_bit(dims, kind):
    assert_is_supervised(CPS(weight=0), dims, kind, Supervised())
    assert differs(CPS(weight=1, ramp=0), dims, kind, Supervised())


def test_each_network_learns_from_the_others_decisions_and_decisions_do_not_learn():
    nets, batch = networks(2, "multiclass", "other"), batches(2, "multiclass")
    criterion = built(CPS(weight=1), nets, tiny_task())
    for own, other in (("net", "other"), ("other", "net")):
        parameters = list(nets[own].parameters())
        before = torch.autograd.grad(loss_of(criterion, nets, batch).total, parameters)
        with torch.no_grad():
            head = nets[other].heads["label"].linear
            kept = head.bias.clone()
            head.bias += 1e-4  # the other says the same, a little surer
        same = torch.autograd.grad(loss_of(criterion, nets, batch).total, parameters)
        with torch.no_grad():
            head.bias.copy_(torch.tensor([50.0, 0, 0]))  # the other decides otherwise
        changed = torch.autograd.grad(loss_of(criterion, nets, batch).total, parameters)
        with torch.no_grad():
            head.bias.copy_(kept)
        assert all(torch.equal(a, b) for a, b in zip(before, same, strict=True))
        assert not all(torch.allclose(a, b) for a, b in zip(before, changed, strict=True))


def test_refuses_a_regression_and_one_network_alone():
    with pytest.raises(ConfigError, match="regression"):
        built(CPS(), networks(2, "regression", "other"), tiny_task("regression"))
    nets = networks(2, "multiclass")
    with pytest.raises(ConfigError, match="two networks"):
        loss_of(built(CPS(), nets, tiny_task()), nets, batches(2, "multiclass"))
