"""Entropy minimisation: SciPy's entropies, its limits, and unlabelled answers that get surer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.stats
import torch

from allograft.contracts import Progress
from allograft.functional.consistency import entropy, log_shares, shares
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.supervised import Supervised
from two_stream_loop import AT, TwoEndless, assert_weight_0_is_supervised, batches, tiny, train


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "segmentation"])
def test_the_term_is_scipys_entropy_over_ln_c(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = batches(dims, task)
    with torch.no_grad():
        loss = EntropyMinimisation(weight=0.3, ramp=0.8).build({"net": net}, task)({"net": net}, batch, AT, "all")
        logits = tiny(dims, kind)[0](batch["unlabelled"].image).logits["label"]
        plain = Supervised().build({"net": net}, task)({"net": tiny(dims, kind)[0]}, batch, AT, "all").total
    if kind in {"binary", "multilabel"}:
        p = logits.sigmoid().double().numpy()
        want = scipy.stats.entropy([p, 1 - p], axis=0).mean() / math.log(2)
    else:
        want = scipy.stats.entropy(logits.double().softmax(1).numpy(), axis=1).mean() / math.log(3)
    assert float(loss.parts["unsupervised"]) == pytest.approx(want, rel=1e-5)
    weight = 0.3 * math.exp(-5 * (1 - 0.5 / 0.8) ** 2)
    assert float(loss.parts["unsupervised_weight"]) == pytest.approx(weight)
    assert float(loss.total) == pytest.approx(float(plain) + weight * want, rel=1e-5)


def test_worked_entropies_and_limits() -> None:
    assert float(entropy(torch.tensor([[0.9, 0.1], [0.6, 0.4]]).mean(0, keepdim=True))) == pytest.approx(0.562335145)
    assert float(entropy(torch.tensor([[1.0, 0.0, 0.0]]))) == 0
    even, sure = torch.zeros(1, 4), torch.tensor([[900.0, 0, 0, 0]])
    for logits, want in ((even, math.log(4)), (sure, 0.0)):
        logs = log_shares(logits, "multiclass")
        assert float(-(logs.exp() * logs).sum()) == pytest.approx(want)
        assert torch.isfinite(logs).all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "segmentation"])
def test_every_kind_has_the_same_layout_and_sums_to_one(kind: Any) -> None:
    logits = torch.randn(5, 1) if kind == "binary" else torch.randn(5, 3, *[4, 2][: 2 * (kind == "segmentation")])
    p = shares(logits, kind)
    torch.testing.assert_close(p.sum(1), torch.ones_like(p[:, 0]))
    torch.testing.assert_close(p.log(), log_shares(logits, kind))


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(EntropyMinimisation())


@pytest.mark.parametrize("joint", [False, True])
def test_the_mechanism_acts_unlabelled_answers_get_surer(joint: bool) -> None:
    found = []
    for weight in (0.0, 3.0):
        net, task = tiny(2)
        train(EntropyMinimisation(weight=weight, ramp=0, joint_norm=joint), net, task, steps=40, lr=0.02)
        net.eval()
        with torch.no_grad():
            images = TwoEndless(2, task).at(999)["unlabelled"].image
            found.append(float(entropy(shares(net(images).logits["label"], "multiclass")).mean()))
    assert found[1] < 0.9 * found[0]


def test_the_ramp_starts_near_zero_and_ends_at_the_weight() -> None:
    settings = EntropyMinimisation(weight=0.1)
    assert settings.weight_at(Progress(0, 200)) == pytest.approx(0.1 * 0.006737947)
    assert settings.weight_at(Progress(50, 200)) == pytest.approx(0.1 * 0.060054668)
    assert settings.weight_at(Progress(150, 200)) == pytest.approx(0.1 * 0.731615629)
    assert settings.weight_at(Progress(200, 200)) == 0.1
