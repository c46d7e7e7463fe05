"""Soft Dice: MONAI's values, closed forms, weights, and sums that keep their digits."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss

from allograft.functional.cross_entropy import one_hot
from allograft.functional.dice import soft_dice


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def material(dims, generator, cases=3, classes=4):
    """Return synthetic logits and classes."""
    shape = (4, 5, 6)[:dims]
    logits = torch.randn(cases, classes, *shape, generator=generator)
    return logits, torch.randint(classes, (cases, *shape), generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("smooth", [1e-5, 1.0])
def test_values_and_gradients_equal_monai(generator, dims, batch, squared, smooth):
    logits, target = material(dims, generator)
    theirs = DiceLoss(
        softmax=True,
        to_onehot_y=True,
        batch=batch,
        squared_pred=squared,
        smooth_nr=smooth,
        smooth_dr=smooth,
    )
    one, two, three = (logits.clone().requires_grad_() for _ in range(3))
    settings = {"batch": batch, "squared": squared, "smooth": smooth}
    ours = 1 - soft_dice(one.softmax(1), target, **settings).mean()
    dense = 1 - soft_dice(two.softmax(1), one_hot(target, 4), **settings).mean()
    expected = theirs(three, target[:, None])
    for loss in (ours, dense, expected):
        loss.backward()
    for loss, asked in ((ours, one), (dense, two)):
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(asked.grad, three.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("squared", [False, True])
def test_a_perfect_prediction_gives_one_and_a_wrong_one_nearly_zero(generator, dims, squared):
    _, target = material(dims, generator)
    truth = one_hot(target, 4)
    torch.testing.assert_close(soft_dice(truth, target, squared=squared), torch.ones(3, 4))
    assert soft_dice(truth.roll(1, dims=1), target, squared=squared).max() < 1e-4


def test_a_constant_probability_has_its_closed_form():
    target = torch.zeros(1, 8, 8).long()
    target[0, :2] = 1  # 16 of 64
    p = torch.full((1, 2, 8, 8), 0.25)
    p[:, 0] = 0.75
    found = soft_dice(p, target, smooth=1e-12)[0, 1]
    assert found == pytest.approx(2 * 16 * 0.25 / (64 * 0.25 + 16))


def test_an_absent_class_that_is_not_predicted_gives_one():
    p = torch.zeros(1, 3, 4, 4)
    p[:, 0] = 1
    torch.testing.assert_close(soft_dice(p, torch.zeros(1, 4, 4).long()), torch.ones(1, 3))


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_weight_zero_takes_elements_out_and_weight_two_counts_them_twice(generator, batch, dense):
    logits, target = material(2, generator)
    p = logits.softmax(1)
    weight = torch.ones(target.shape)
    weight[:, 0] = 0
    weight[:, 1] = 2
    rows = [1, 1, 2, 3]
    truth = one_hot(target, 4) if dense else target
    kept = truth[..., rows, :]
    torch.testing.assert_close(
        soft_dice(p, truth, weight=weight, batch=batch), soft_dice(p[:, :, rows], kept, batch=batch)
    )


def test_millions_of_elements_keep_their_digits():
    side = 1300
    target = torch.ones(1, side, side, dtype=torch.long)
    p = torch.full((1, 2, side, side), 0.1)
    assert soft_dice(p, target)[0, 1].item() == pytest.approx(0.2 / 1.1, rel=1e-6)


def test_half_precision_is_summed_in_float32():
    target = torch.ones(1, 400, 400, dtype=torch.long)
    p = torch.full((1, 2, 400, 400), 0.5, dtype=torch.float16)
    found = soft_dice(p, target)
    assert found.dtype == torch.float32
    assert found[0, 1].item() == pytest.approx(1 / 1.5, rel=1e-5)
