"""FixMatch: PyTorch's cross-entropy with ignored elements; nothing rejected is ever taught."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from allograft.objectives.fix_match import FixMatch
from two_stream_loop import AT, assert_resumes, assert_weight_0_is_supervised, batches, tiny


def material(dims: int, kind: Any, **settings: Any) -> tuple[Any, Any, Any]:
    """Return a network that is sure of some elements, a batch, and the criterion."""
    net, task = tiny(dims, kind)
    with torch.no_grad():
        for parameter in net.heads.parameters():
            parameter.mul_(4)
    return net, batches(dims, task), FixMatch(ramp=0, **settings).build({"net": net}, task)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_the_term_is_pytorchs_cross_entropy_with_ignored_elements(dims: int, kind: Any) -> None:
    net, batch, criterion = material(dims, kind)
    twin = copy.deepcopy(net)
    p, label = twin(batch["unlabelled"].image).logits["label"].softmax(1).max(1)
    criterion.threshold = bound = float(p.detach().median()) - 1e-5
    loss = criterion({"net": net}, batch, AT, "all")
    hard = twin(batch["unlabelled"].views[0].image).logits["label"]
    label[p < bound] = -100
    want = F.cross_entropy(hard, label, ignore_index=-100, reduction="sum") / label.numel()
    assert 0 < float(loss.parts["accepted"]) < 1
    assert float(loss.parts["accepted"]) == pytest.approx(float((label >= 0).float().mean()))
    assert float(loss.parts["unsupervised"]) == pytest.approx(float(want.detach()), rel=1e-4)


def test_several_labels_are_accepted_one_by_one() -> None:
    net, batch, criterion = material(2, "multilabel", threshold=0.7)
    twin = copy.deepcopy(net)
    loss = criterion({"net": net}, batch, AT, "all")
    hard = twin(batch["unlabelled"].views[0].image).logits["label"]
    p = twin(batch["unlabelled"].image).logits["label"].sigmoid()
    sure = (p >= 0.7) | (p <= 0.3)
    each = F.binary_cross_entropy_with_logits(hard, (p > 0.5).float(), reduction="none")
    assert 0 < float(sure.float().mean()) < 1
    assert float(loss.parts["unsupervised"]) == pytest.approx(float((each * sure).mean().detach()), rel=1e-4)


@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_all_rejected_gives_0_and_not_nan(kind: Any) -> None:
    net, batch, criterion = material(2, kind, threshold=1.0)
    value = criterion.term(net, batch["train"], batch["unlabelled"], AT).value
    assert float(value.detach()) == 0
    grads = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    assert not any(g is not None and bool(g.any()) for g in grads)


def test_rejected_elements_are_ignored_and_not_background() -> None:
    """The released code of SSL4MIS makes them class 0, and stretches probabilities before it compares them."""
    net, batch, criterion = material(2, "segmentation", threshold=0.6)
    seen: list[Tensor] = []
    inner = criterion.logits
    criterion.logits = lambda out: seen.append(inner(out)) or seen[-1]
    value = criterion.term(net, batch["train"], batch["unlabelled"], AT).value
    easy, hard = seen
    (grad,) = torch.autograd.grad(value, hard)
    taught = grad.abs().sum(1) > 0
    p = easy.softmax(1).max(1).values
    assert torch.equal(taught, p >= 0.6)
    assert bool(taught.any())
    assert not bool(taught.all())
    assert bool(((p - p.min()) / (p.max() - p.min()) < 0.6)[taught].any())  # stretched, these would be rejected


def test_labels_come_without_gradient_from_the_weak_image() -> None:
    net, batch, criterion = material(3, "multiclass", threshold=0.1)
    weak = batch["unlabelled"].image.requires_grad_()
    for joint in (False, True):
        criterion.spec = FixMatch(threshold=0.1, joint_norm=joint, ramp=0)
        value = criterion.term(net.eval(), batch["train"], batch["unlabelled"], AT).value
        assert not any(g is not None and g.any() for g in torch.autograd.grad(value, [weak], allow_unused=True))


def test_the_mechanism_acts_sure_answers_are_taught_to_strong_views() -> None:
    net, batch, criterion = material(2, "multiclass", threshold=0.4)
    label = net(batch["unlabelled"].image).logits["label"].argmax(1)
    optimiser, found = torch.optim.Adam(net.parameters(), lr=0.005), []
    for _ in range(15):
        optimiser.zero_grad()
        criterion.term(net, batch["train"], batch["unlabelled"], AT).value.backward()
        optimiser.step()
        hard = net(batch["unlabelled"].views[0].image).logits["label"].softmax(1)
        found.append(float(hard.gather(1, label[:, None]).mean().detach()))
    assert found[-1] > found[0]
    assert found[-1] > 0.9


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(FixMatch(threshold=0.4))


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(FixMatch(threshold=0.4), tmp_path)
