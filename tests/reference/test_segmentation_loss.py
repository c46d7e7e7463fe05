"""Segmentation loss: MONAI's DiceCELoss, closed forms, weights, absent cases and elements; it trains."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss
from pydantic import ValidationError
from torch import nn

from allograft.contracts import Progress
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cross_entropy import one_hot
from allograft.nets.network import Output
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.supervised import Supervised
from allograft.objectives.task_loss import task_loss

TASK = Task(kind="segmentation", classes=("bg", "a", "b"))
WEIGHTS = (0.5, 1.0, 3.0)
DICE, ENTROPY = SegmentationLoss(cross_entropy=0), SegmentationLoss(dice=0)
DIMS = pytest.mark.parametrize("dims", [2, 3])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def material(dims, generator, cases=4):
    """Return synthetic logits and masks."""
    shape = (5, 6, 4)[:dims]
    logits = torch.randn(cases, 3, *shape, generator=generator)
    return logits, torch.randint(3, (cases, *shape), generator=generator)


def loss_of(logits, target, settings=None, *, present=None, weight=None, task=TASK, **more):
    here = torch.ones(len(logits)).bool() if present is None else torch.tensor(present)
    batch = Batch(image=logits, targets={"label": target}, present={"label": here}, weight=weight)
    out = Output((), logits.flatten(1), {"label": logits})
    return task_loss(task, segmentation=settings, **more)(out, batch)


@DIMS
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_it_equals_monai(generator, dims, batch, include_background):
    logits, target = material(dims, generator)
    ours = loss_of(logits, target, SegmentationLoss(batch=batch, include_background=include_background))
    theirs = DiceCELoss(
        softmax=True, to_onehot_y=True, batch=batch, include_background=include_background, smooth_nr=1e-5
    )
    torch.testing.assert_close(ours.total, theirs(logits, target[:, None]))
    torch.testing.assert_close(ours.total, ours.parts["dice"] + ours.parts["cross_entropy"])


@DIMS
def test_wackers_recipe_equals_monai(generator, dims):
    logits, target = material(dims, generator)
    wacker = SegmentationLoss(cross_entropy=0, batch=True, include_background=True, smooth=1e-15)
    theirs = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1e-15, smooth_dr=1e-15)
    torch.testing.assert_close(loss_of(logits, target, wacker).total, theirs(logits, target[:, None]))


@DIMS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_cross_entropy_equals_pytorch(generator, dims, smoothing, weights):
    logits, target = material(dims, generator)
    ours = loss_of(logits, target, ENTROPY, label_smoothing=smoothing, class_weights=weights)
    dense = loss_of(logits, one_hot(target, 3), ENTROPY, label_smoothing=smoothing, class_weights=weights)
    theirs = F.cross_entropy(
        logits, target, weight=torch.tensor(weights) if weights else None, label_smoothing=smoothing
    )
    torch.testing.assert_close(ours.total, theirs)
    torch.testing.assert_close(dense.total, theirs)


@DIMS
def test_dice_class_weights_are_a_weighted_mean_over_the_classes_that_count(generator, dims):
    logits, target = material(dims, generator)
    each = DiceLoss(
        softmax=True, to_onehot_y=True, batch=True, include_background=False, reduction="none", smooth_nr=1e-5
    )
    a, b = each(logits, target[:, None]).flatten()
    torch.testing.assert_close(loss_of(logits, target, DICE, class_weights=WEIGHTS).total, (a + 3 * b) / 4)


@DIMS
def test_logits_that_say_nothing_have_the_closed_form(dims):
    shape = (4, 4, 4)[:dims]
    target = torch.zeros(1, *shape).long()
    target[:, 0] = 1  # a quarter
    part = loss_of(torch.zeros(1, 3, *shape), target, SegmentationLoss(smooth=1e-12)).parts
    # p = 1/3 everywhere: class a 2 · (1/4)/3 / (1/3 + 1/4), class b 0.
    assert part["dice"] == pytest.approx(1 - (1 / 6) / (7 / 12) / 2)
    assert part["cross_entropy"] == pytest.approx(math.log(3))


@DIMS
def test_a_perfect_prediction_costs_nothing(generator, dims):
    _, target = material(dims, generator)
    assert loss_of(50 * one_hot(target, 3), target).total < 1e-5


@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False)])
def test_a_slice_equals_a_volume_of_one_slice(generator, settings):
    logits, target = material(2, generator)
    torch.testing.assert_close(
        loss_of(logits, target, settings).total, loss_of(logits[:, :, None], target[:, None], settings).total
    )


@DIMS
@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False)])
def test_absent_cases_reach_neither_loss_nor_gradient(generator, dims, settings):
    logits, target = material(dims, generator)
    plain = loss_of(logits[[0, 2]], target[[0, 2]], settings).total
    target[[1, 3]] = 10**6
    asked = logits.clone().requires_grad_()
    ours = loss_of(asked, target, settings, present=[True, False, True, False]).total
    ours.backward()
    torch.testing.assert_close(ours.detach(), plain)
    assert not asked.grad[[1, 3]].any()
    assert asked.grad[[0, 2]].any()


@DIMS
@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False)])
def test_elements_below_zero_are_absent(generator, dims, settings):
    logits, target = material(dims, generator)
    plain = loss_of(logits[:, :, 1:], target[:, 1:], settings).total
    target[:, 0] = -1
    asked = logits.clone().requires_grad_()
    ours = loss_of(asked, target, settings).total
    ours.backward()
    torch.testing.assert_close(ours.detach(), plain)
    assert not asked.grad[:, :, 0].any()
    weighted = loss_of(logits, target, settings, weight=torch.ones(target.shape)).total
    torch.testing.assert_close(weighted, plain)


@DIMS
@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False, smooth=1.0)])
def test_case_weight_two_is_the_case_twice_and_zero_takes_it_out(generator, dims, settings):
    logits, target = material(dims, generator)
    twice = loss_of(logits[[0, 0, 2, 3]], target[[0, 0, 2, 3]], settings).total
    weighted = loss_of(logits, target, settings, weight=torch.tensor([2.0, 0, 1, 1])).total
    torch.testing.assert_close(weighted, twice)
    target[0, 0] = -1  # the two kinds of weights together
    twice = loss_of(logits[[0, 0, 2, 3]], target[[0, 0, 2, 3]], settings).total
    torch.testing.assert_close(loss_of(logits, target, settings, weight=torch.tensor([2.0, 0, 1, 1])).total, twice)


@DIMS
@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False)])
def test_element_weight_zero_takes_elements_out(generator, dims, settings):
    logits, target = material(dims, generator)
    weight = torch.ones(target.shape)
    weight[:, -1] = 0
    weight[2] = 0  # a whole case
    plain = loss_of(logits[[0, 1, 3], :, :-1], target[[0, 1, 3], :-1], settings).total
    torch.testing.assert_close(loss_of(logits, target, settings, weight=weight).total, plain)


@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss(batch=False)])
@pytest.mark.parametrize("nothing", ["absent", "weightless", "below zero"])
def test_nothing_labelled_gives_zero_with_a_zero_gradient(generator, settings, nothing):
    logits, target = material(3, generator)
    present = [nothing != "absent"] * 4
    weight = torch.zeros(4) if nothing == "weightless" else None
    target = target - 5 if nothing == "below zero" else target
    asked = logits.requires_grad_()
    loss = loss_of(asked, target, settings, present=present, weight=weight)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0, abs=1e-7)
    assert not asked.grad.any()


def test_bfloat16_logits_are_summed_in_float32(generator):
    logits = torch.randn(1, 3, 200, 200, generator=generator).bfloat16()
    target = torch.randint(3, (1, 200, 200), generator=generator)
    wide = loss_of(logits.float(), target).total
    torch.testing.assert_close(loss_of(logits, target).total, wide)


class _PerPixel(nn.Module):
    """The smallest network that segments."""

    def __init__(self, dims):
        super().__init__()
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, 3, 3, padding=1)

    def forward(self, x):
        logits = self.layer(x)
        return Output((), logits.flatten(1), {"label": logits})


@DIMS
@pytest.mark.parametrize("settings", [DICE, ENTROPY, SegmentationLoss()])
def test_steps_against_the_gradient_find_a_synthetic_square(generator, dims, settings):
    torch.manual_seed(0)
    shape = (10, 10, 4)[:dims]
    target = torch.zeros(2, *shape).long()
    target[:, 2:6, 3:7] = 1
    target[:, 7:, :3] = 2
    image = target[:, None].float() + 0.1 * torch.randn(2, 1, *shape, generator=generator)
    batch = Batch(image=image, targets={"label": target}, present={"label": torch.ones(2).bool()})
    net, loss = _PerPixel(dims), task_loss(TASK, segmentation=settings)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    first = loss(net(image), batch).total.item()
    for _ in range(60):
        optimiser.zero_grad()
        loss(net(image), batch).total.backward()
        optimiser.step()
    assert loss(net(image), batch).total.item() < 0.5 * first


@DIMS
def test_supervised_takes_a_segmentation_as_it_is(generator, dims):
    logits, target = material(dims, generator)
    criterion = Supervised(class_weights=WEIGHTS).build({}, TASK)
    batch = Batch(image=logits, targets={"label": target}, present={"label": torch.ones(4).bool()})
    net = lambda image: Output((), image.flatten(1), {"label": image})  # noqa: E731
    found = criterion({"net": net}, {"train": batch}, Progress(0, 1), "all").total
    torch.testing.assert_close(found, loss_of(logits, target, class_weights=WEIGHTS).total)


def test_what_does_not_fit_is_refused(generator):
    logits, target = material(3, generator)
    with pytest.raises(ConfigError, match="decoder"):
        loss_of(torch.zeros(4, 3), torch.zeros(4).long())
    with pytest.raises(ConfigError, match=r"\(B, 3, \*S\)"):
        loss_of(logits[:, :2], target)
    with pytest.raises(DataError, match="on the grid of the logits"):
        loss_of(logits, target[:, 1:])
    with pytest.raises(DataError, match="value 7"):
        loss_of(logits, target + 5)
    with pytest.raises(DataError, match="one per case or per element"):
        loss_of(logits, target, weight=torch.ones(4, 5))
    with pytest.raises(ConfigError, match="label_smoothing acts on the cross-entropy"):
        loss_of(logits, target, DICE, label_smoothing=0.1)
    with pytest.raises(ConfigError, match="needs a segmentation task"):
        SegmentationLoss().build(Task(kind="binary", classes=("no", "yes")))
    with pytest.raises(ValidationError, match="nothing would be learnt"):
        SegmentationLoss(dice=0, cross_entropy=0)
