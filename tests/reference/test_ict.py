"""ICT: the mixture by a loop over pairs, its limits, and both partners in input and target."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.functional.consistency import mix
from allograft.objectives.ict import ICT
from two_stream_loop import AT, assert_resumes, assert_weight_0_is_supervised, batches, tiny


@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 4, 6), (5, 2, 3, 4, 5)])
def test_the_mixture_equals_a_loop_over_pairs(shape: tuple[int, ...]) -> None:
    x, share = torch.randn(shape), torch.rand(shape[0])
    want = [float(b) * x[i] + (1 - float(b)) * x[i - 1] for i, b in enumerate(share)]
    torch.testing.assert_close(mix(x, share), torch.stack(want))
    assert torch.equal(mix(x, torch.ones(5)), x)
    assert torch.equal(mix(x, torch.zeros(5)), x[[4, 0, 1, 2, 3]])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "segmentation"])
def test_the_term_equals_the_formula(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = batches(dims, task)
    criterion = ICT(alpha=0.7, ramp=0).build({"net": net}, task)
    with torch.no_grad():
        for parameter in criterion.teacher.parameters():
            parameter.mul_(1.5)
    student, teacher = copy.deepcopy(net), copy.deepcopy(criterion.teacher)
    torch.manual_seed(4)
    loss = criterion({"net": net}, batch, AT, "all")
    torch.manual_seed(4)
    b, image = torch.distributions.Beta(0.7, 0.7).sample((6,)), batch["unlabelled"].image
    mixed = torch.stack([b[i] * image[i] + (1 - b[i]) * image[i - 1] for i in range(6)])

    def p(of: Any, x: torch.Tensor) -> torch.Tensor:
        logits = of(x).logits["label"]
        return logits.sigmoid() if kind in {"binary", "multilabel"} else logits.softmax(1)

    answers, found = p(teacher, image), p(student, mixed)
    want = [(found[i] - b[i] * answers[i] - (1 - b[i]) * answers[i - 1]).square().mean() for i in range(6)]
    assert float(loss.parts["unsupervised"]) == pytest.approx(float(sum(want).detach()) / 6, rel=1e-4)


def test_hardly_mixed_it_is_a_mean_teacher_without_noise() -> None:
    """A very large share of one image (b = 1) leaves the distance of two answers to that image."""
    net, task = tiny(2)
    batch = batches(2, task)
    criterion = ICT(ramp=0).build({"net": net}, task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributions.Beta, "sample", lambda self, shape: torch.ones(shape))
        value = criterion({"net": net}, batch, AT, "all").parts["unsupervised"]
    assert float(value) == 0  # at the start the teacher is the student


def test_the_mechanism_acts_the_partner_enters_image_and_target() -> None:
    net, task = tiny(2, "segmentation")
    batch = batches(2, task)
    criterion = ICT(ramp=0, alpha=50).build({"net": net}, task)
    seen: dict[str, Any] = {}
    ask, forward = criterion.ask, net.forward
    criterion.ask = lambda of, *images: seen.setdefault("asked", images) and ask(of, *images)
    net.forward = lambda x: (seen.setdefault("shown", []).append(x), forward(x))[1]
    criterion({"net": net}, batch, AT, "all")
    image, shown = batch["unlabelled"].image, seen["shown"][1]
    assert torch.equal(seen["asked"][0], image)  # the teacher sees images as they are
    for i in range(6):  # each shown image is between its own and its neighbour
        share = (shown[i] - image[i - 1]).flatten() @ (image[i] - image[i - 1]).flatten()
        share = share / (image[i] - image[i - 1]).square().sum()
        assert 0.2 < float(share) < 0.8
        torch.testing.assert_close(shown[i], share * image[i] + (1 - share) * image[i - 1])


def test_one_unlabelled_image_is_refused() -> None:
    net, task = tiny(2)
    criterion = ICT().build({"net": net}, task)
    with pytest.raises(ConfigError, match="Raise unlabelled_batch"):
        criterion({"net": net}, batches(2, task, other=1), AT, "all")


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(ICT())


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(ICT(ramp=0), tmp_path)
