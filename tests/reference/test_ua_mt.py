"""UA-MT: worked bounds, an independent formula, and no gradient where the teacher is unsure."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.functional.consistency import certainty_bound, squared_distance
from allograft.objectives.ua_mt import UAMT
from two_stream_loop import AT, assert_resumes, assert_weight_0_is_supervised, batches, tiny

BOUNDS = {0: 0.521028, 1000: 0.521481, 15000: 0.569508, 30000: 0.693147}


@pytest.mark.parametrize("step", BOUNDS)
def test_worked_bounds_for_two_classes(step: int) -> None:
    assert certainty_bound(step / 30000, 2) == pytest.approx(BOUNDS[step], abs=1e-6)


def test_the_bound_is_a_share_of_ln_c_not_of_ln_2() -> None:
    """With ln 2 an even answer over four classes (entropy ln 4) could never come near the bound."""
    assert certainty_bound(1, 4) == pytest.approx(math.log(4))
    assert certainty_bound(0, 4) == pytest.approx(2 * BOUNDS[0], abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "segmentation"])
def test_the_term_equals_numpy(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind, dropout=0.3)
    batch, at = batches(dims, task), Progress(1, 10)
    criterion = UAMT(passes=3, noise=0.5, ramp=0).build({"net": net}, task)
    with torch.no_grad():
        for parameter in criterion.teacher.heads.parameters():
            parameter.mul_(12 if kind == "segmentation" else 4)  # sure here, unsure there
    student, teacher = copy.deepcopy(net), copy.deepcopy(criterion.teacher)
    torch.manual_seed(5)
    loss = criterion({"net": net}, batch, at, "all")
    torch.manual_seed(5)
    image = batch["unlabelled"].image
    with torch.no_grad():
        student(batch["train"].image)  # its dropout is drawn first

        def answer(of: Any) -> Any:
            noisy = image if of is student else image + torch.clamp(0.5 * torch.randn_like(image), -1, 1)
            return of(noisy).logits["label"].softmax(1).double().numpy()

        own, target, *noisy = answer(student), answer(teacher), *(answer(teacher) for _ in range(3))
    unsure = scipy.stats.entropy(np.mean(noisy, axis=0), axis=1)
    mask = unsure < (0.75 + 0.25 * np.exp(-5 * (1 - 0.1) ** 2)) * np.log(3)
    assert 0 < mask.mean() < 1
    want = (mask[:, None] * (own - target) ** 2).sum() / (3 * mask.sum() + 1e-16)
    assert float(loss.parts["unsupervised"]) == pytest.approx(want, rel=1e-4)
    assert float(loss.parts["sure"]) == pytest.approx(mask.mean())


def test_where_no_element_is_sure_the_term_is_0_and_gives_no_gradient() -> None:
    net, task = tiny(2, "segmentation")
    criterion = UAMT(passes=2, ramp=0).build({"net": net}, task)
    with torch.no_grad():
        for parameter in criterion.teacher.heads.parameters():
            parameter.zero_()  # even answers
    out = criterion.term(net, *batches(2, task).values(), AT)
    assert float(out.value.detach()) == 0
    grads = torch.autograd.grad(out.value, list(net.parameters()), allow_unused=True)
    assert not any(g is not None and bool(g.any()) for g in grads)


def test_the_mechanism_acts_only_sure_elements_pull() -> None:
    """A teacher that is sure on the left half of each image: gradients of the answers lie there alone."""
    net, task = tiny(2, "segmentation")
    criterion = UAMT(passes=2, noise=0.1, ramp=0).build({"net": net}, task)

    def half_sure(_net: Any, *images: Any) -> Any:
        found = torch.full((len(images[0]), 3, *images[0].shape[2:]), 1 / 3)
        found[..., :4] = torch.tensor([0.98, 0.01, 0.01]).view(1, 3, 1, 1)
        return [found]

    criterion.ask = half_sure
    seen: dict[str, Any] = {}
    inner = criterion.logits
    criterion.logits = lambda out: seen.setdefault("logits", inner(out))
    value = criterion.term(net, *batches(2, task).values(), AT).value
    (grad,) = torch.autograd.grad(value, seen["logits"])
    assert bool(grad[..., :4].any())
    assert not bool(grad[..., 4:].any())


def test_at_the_end_of_training_every_element_counts() -> None:
    net, task = tiny(2, "segmentation")
    criterion = UAMT(passes=2, ramp=0).build({"net": net}, task)
    late = criterion({"net": net}, batches(2, task), Progress(10, 10), "all").parts["sure"]
    early = criterion({"net": net}, batches(2, task), Progress(0, 10), "all").parts["sure"]
    assert float(late) > 0.99
    assert float(early) < float(late)


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(UAMT(passes=2))


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(UAMT(passes=2, ramp=0), tmp_path)


def test_passes_that_cannot_differ_are_refused() -> None:
    net, task = tiny(2)
    with pytest.raises(ConfigError, match=r"net\.dropout"):
        UAMT(noise=0).build({"net": net}, task)
    UAMT(noise=0).build({"net": tiny(2, dropout=0.1)[0]}, task)
    assert float(squared_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))) == 1
