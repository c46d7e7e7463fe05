"""R-Drop: SciPy's divergences over classes, symmetry, and passes that come to agree."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import scipy.special
import torch

from allograft.core.errors import ConfigError
from allograft.functional.consistency import log_shares, symmetric_kl
from allograft.objectives.r_drop import RDrop
from allograft.objectives.task_loss import task_loss
from two_stream_loop import AT, TwoEndless, assert_weight_0_is_supervised, batches, tiny, train


def kl(a: Any, b: Any) -> Any:
    """Return both divergences of (N, C, *S), halved and summed over the classes."""
    p, q = (x.detach().double().softmax(1).numpy() for x in (a, b))
    return 0.5 * (scipy.special.rel_entr(p, q) + scipy.special.rel_entr(q, p)).sum(1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
@pytest.mark.parametrize("on", ["all", "unlabelled"])
def test_the_term_is_scipys_divergence_over_classes(dims: int, kind: Any, on: Any) -> None:
    net, task = tiny(dims, kind, dropout=0.4)
    batch, twin = batches(dims, task), copy.deepcopy(net)
    torch.manual_seed(6)
    loss = RDrop(weight=0.5, ramp=0, on=on).build({"net": net}, task)({"net": net}, batch, AT, "all")
    torch.manual_seed(6)
    labelled = [twin(batch["train"].image) for _ in range(1 + (on == "all"))]
    other = [twin(batch["unlabelled"].image).logits["label"] for _ in range(2)]
    each = kl(*other).ravel().tolist()
    if on == "all":
        each += kl(*(out.logits["label"] for out in labelled)).ravel().tolist()
    want = sum(each) / len(each)
    plain = sum(float(task_loss(task)(out, batch["train"]).total.detach()) for out in labelled) / len(labelled)
    assert want > 1e-5
    assert float(loss.parts["unsupervised"]) == pytest.approx(want, rel=1e-3)
    assert float(loss.parts["task"]) == pytest.approx(plain, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(plain + 0.5 * want, rel=1e-4)


def test_the_softmax_is_over_classes_and_not_over_an_axis_of_the_image() -> None:
    """The released code of SSL4MIS takes the last axis, where a class that gets likelier everywhere changes nothing."""
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[:, 1] += 2.0  # one class gets likelier everywhere
    assert float(symmetric_kl(log_shares(a, "segmentation"), log_shares(b, "segmentation")).min()) > 0.1
    wrong = 0.5 * (a.softmax(-1) - b.softmax(-1)) * (a.log_softmax(-1) - b.log_softmax(-1))
    assert float(wrong.abs().max()) == 0


def test_the_order_of_the_passes_does_not_matter() -> None:
    p, q = (torch.randn(4, 3, 5, 5).log_softmax(1) for _ in range(2))
    torch.testing.assert_close(symmetric_kl(p, q), symmetric_kl(q, p))
    assert float(symmetric_kl(p, p).abs().max()) == 0


def test_a_network_without_chance_is_refused_and_would_give_0() -> None:
    net, task = tiny(2)
    with pytest.raises(ConfigError, match=r"net\.dropout"):
        RDrop().build({"net": net}, task)
    noisy, _ = tiny(2, dropout=0.3)
    criterion = RDrop(ramp=0).build({"net": noisy}, task)
    assert float(criterion({"net": net}, batches(2, task), AT, "all").parts["unsupervised"]) == 0
    assert float(criterion({"net": noisy}, batches(2, task), AT, "all").parts["unsupervised"]) > 0


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(RDrop())


def test_the_mechanism_acts_passes_agree_more() -> None:
    found = []
    for weight in (0.0, 5.0):
        net, task = tiny(2, dropout=0.3)
        train(RDrop(weight=weight), net, task, steps=40)
        torch.manual_seed(0)
        image = TwoEndless(2, task).at(999)["unlabelled"].image
        with torch.no_grad():
            passes = [log_shares(net(image).logits["label"], "multiclass") for _ in range(2)]
        found.append(float(symmetric_kl(*passes).mean()))
    assert found[1] < 0.7 * found[0]
