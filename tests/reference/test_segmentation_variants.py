"""Variants of the segmentation loss: MONAI's focal, Tversky, generalised Dice and region losses; invariants."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from pydantic import ValidationError

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cross_entropy import one_hot
from allograft.nets.network import Output
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.supervised import Supervised

TASK = Task(kind="segmentation", classes=("bg", "a", "b"))
TUMOUR = Task(
    kind="segmentation",
    classes=("bg", "edema", "core", "enhancing"),
    regions={"WT": ("edema", "core", "enhancing"), "TC": ("core", "enhancing"), "ET": ("enhancing",)},
)
ZERO = {"dice": 0, "cross_entropy": 0}
FOCAL = SegmentationLoss(**ZERO, focal=1)
TVERSKY = SegmentationLoss(**ZERO, tversky=1)
GENERALISED = SegmentationLoss(**ZERO, generalised_dice=1)
ALL = SegmentationLoss(focal=0.5, tversky=1, generalised_dice=0.2)
REGIONS = SegmentationLoss(regions=True)
DIMS = pytest.mark.parametrize("dims", [2, 3])
WEIGHTS = (0.5, 1.0, 3.0)


def material(dims, classes=3, cases=3, seed=0):
    """Return synthetic logits and masks in which every class occurs in every case."""
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 6, 4)[:dims]
    logits = torch.randn(cases, classes, *shape, generator=generator)
    return logits, torch.randint(classes, (cases, *shape), generator=generator)


def loss_of(logits, target, settings, *, task=TASK, weight=None, **more):
    batch = Batch(
        image=logits, targets={"label": target}, present={"label": torch.ones(len(logits)).bool()}, weight=weight
    )
    return settings.build(task, **more)(Output((), logits.flatten(1), {"label": logits}), batch)


@DIMS
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_equals_monai(dims, gamma):
    logits, target = material(dims)
    ours = loss_of(logits, target, FOCAL.model_copy(update={"focal_gamma": gamma})).total
    theirs = FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True)(logits, target[:, None])
    torch.testing.assert_close(ours, 3 * theirs)  # MONAI averages over the classes too, of which all but one are 0


@DIMS
def test_weighted_focal_equals_monai_over_the_weights(dims):
    logits, target = material(dims)
    ours = loss_of(logits, target, FOCAL, class_weights=WEIGHTS).total
    soft = loss_of(logits, one_hot(target, 3), FOCAL, class_weights=WEIGHTS).total
    theirs = FocalLoss(to_onehot_y=True, use_softmax=True, weight=WEIGHTS, reduction="none")(logits, target[:, None])
    torch.testing.assert_close(ours, theirs.sum() / torch.tensor(WEIGHTS)[target].sum())
    torch.testing.assert_close(soft, ours)


@DIMS
def test_focal_without_gamma_is_cross_entropy(dims):
    logits, target = material(dims)
    plain = loss_of(logits, target, SegmentationLoss(dice=0), class_weights=WEIGHTS).total
    focal = FOCAL.model_copy(update={"focal_gamma": 0.0})
    torch.testing.assert_close(loss_of(logits, target, focal, class_weights=WEIGHTS).total, plain)
    assert loss_of(logits, target, FOCAL, class_weights=WEIGHTS).total < plain


@DIMS
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (1.0, 0.0), (0.5, 0.5)])
def test_tversky_equals_monai(dims, batch, include_background, alpha, beta):
    logits, target = material(dims)
    ours = SegmentationLoss(
        **ZERO, tversky=1, tversky_alpha=alpha, tversky_beta=beta, batch=batch, include_background=include_background
    )
    theirs = TverskyLoss(
        softmax=True, to_onehot_y=True, alpha=alpha, beta=beta, batch=batch, include_background=include_background
    )
    torch.testing.assert_close(loss_of(logits, target, ours).total, theirs(logits, target[:, None]))


@DIMS
def test_even_tversky_is_dice(dims):
    logits, target = material(dims)
    even = SegmentationLoss(**ZERO, tversky=1, tversky_alpha=0.5, tversky_beta=0.5, smooth=1e-12)
    dice = SegmentationLoss(cross_entropy=0, smooth=1e-12)
    torch.testing.assert_close(loss_of(logits, target, even).total, loss_of(logits, target, dice).total)


def test_tversky_charges_misses_more_than_false_alarms():
    target = torch.zeros(1, 8, 8).long()
    target[:, 2:6, 2:6] = 1
    small, large = torch.zeros_like(target), torch.zeros_like(target)
    small[:, 2:6, 2:5], large[:, 2:6, 2:7] = 1, 1  # 4 missed, 4 too many
    missed, alarmed = (loss_of(50 * one_hot(m, 3), target, TVERSKY).parts["tversky"] for m in (small, large))
    # Class a: 12 / (12 + 0.7 · 4) and 16 / (16 + 0.3 · 4); class b is neither there nor found.
    assert missed == pytest.approx((1 - 12 / 14.8) / 2, abs=1e-5)
    assert alarmed == pytest.approx((1 - 16 / 17.2) / 2, abs=1e-5)


@DIMS
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize("absent", [False, True])
def test_generalised_dice_equals_monai(dims, batch, include_background, absent):
    logits, target = material(dims)
    if absent:
        target[target == 2] = 1
    ours = GENERALISED.model_copy(update={"batch": batch, "include_background": include_background})
    theirs = GeneralizedDiceLoss(
        softmax=True, to_onehot_y=True, batch=batch, include_background=include_background, smooth_nr=1e-5
    )
    torch.testing.assert_close(loss_of(logits, target, ours).total, theirs(logits, target[:, None]))


def test_generalised_dice_makes_small_classes_count():
    target = torch.zeros(1, 10, 10).long()
    target[:, :5], target[:, 9, :2] = 1, 2  # 50 pixels and 2
    without = loss_of(50 * one_hot(target.where(target != 2, 0), 3), target, GENERALISED).total
    assert without == pytest.approx(1 - 2 / 50 / (2 / 50 + 2 / 4), abs=1e-4)
    assert loss_of(50 * one_hot(target.where(target != 1, 0), 3), target, GENERALISED).total < without


@DIMS
@pytest.mark.parametrize("batch", [False, True])
def test_regions_equal_monai_on_nested_regions(dims, batch):
    logits, target = material(dims, classes=4)
    settings = SegmentationLoss(regions=True, cross_entropy=0, batch=batch)
    p = logits.softmax(1)
    nested = torch.stack([p[:, 1:].sum(1), p[:, 2:].sum(1), p[:, 3]], dim=1)
    truth = torch.stack([target >= 1, target >= 2, target == 3], dim=1).float()
    theirs = DiceLoss(include_background=True, batch=batch, smooth_nr=1e-5)(nested, truth)
    torch.testing.assert_close(loss_of(logits, target, settings, task=TUMOUR).total, theirs)
    soft = loss_of(logits, one_hot(target, 4), settings, task=TUMOUR).total
    torch.testing.assert_close(soft, theirs)
    tversky = SegmentationLoss(**ZERO, tversky=1, regions=True, batch=batch)
    judge = TverskyLoss(include_background=True, alpha=0.3, beta=0.7, batch=batch)(nested, truth)
    torch.testing.assert_close(loss_of(logits, target, tversky, task=TUMOUR).total, judge)


def test_regions_forgive_a_confusion_within_a_region_that_classes_do_not():
    target = torch.zeros(1, 6, 6).long()
    target[:, 1:5, 1:5] = 1
    wrong = 50 * one_hot(target * 2, 4)  # edema called core: the whole tumour is right
    parts = SegmentationLoss(regions=True, cross_entropy=0)
    by_region = loss_of(wrong, target, parts, task=TUMOUR).total
    assert by_region == pytest.approx(1 / 3, abs=1e-4)  # of WT, TC, ET only TC is wrong
    assert loss_of(wrong, target, SegmentationLoss(cross_entropy=0), task=TUMOUR).total > 0.6


def test_a_region_counts_by_the_mean_weight_of_its_classes():
    logits, target = material(2, classes=4)
    settings = SegmentationLoss(regions=True, cross_entropy=0)
    p = logits.softmax(1)
    nested = torch.stack([p[:, 1:].sum(1), p[:, 2:].sum(1), p[:, 3]], dim=1)
    truth = torch.stack([target >= 1, target >= 2, target == 3], dim=1).float()
    each = DiceLoss(include_background=True, batch=True, smooth_nr=1e-5, reduction="none")(nested, truth).flatten()
    found = loss_of(logits, target, settings, task=TUMOUR, class_weights=(9.0, 0.5, 2.0, 4.0)).total
    weights = torch.tensor([6.5 / 3, 3.0, 4.0])
    torch.testing.assert_close(found, (each * weights).sum() / weights.sum())


@DIMS
@pytest.mark.parametrize("settings", [FOCAL, TVERSKY, GENERALISED, ALL])
def test_a_perfect_prediction_costs_nothing(dims, settings):
    _, target = material(dims)
    assert loss_of(50 * one_hot(target, 3), target, settings).total < 1e-5
    assert loss_of(50 * one_hot(target.roll(1, dims=1), 3), target, settings).total > 0.1


@pytest.mark.parametrize("settings", [FOCAL, TVERSKY, GENERALISED, ALL, ALL.model_copy(update={"batch": False})])
@pytest.mark.parametrize("regions", [False, True])
def test_ignored_elements_reach_neither_loss_nor_gradient(settings, regions):
    if regions and settings is FOCAL:
        settings = REGIONS
    settings = settings.model_copy(update={"regions": regions})
    logits, target = material(2, classes=4)
    target[:, 2:4] = -1
    target[1] = -1
    totals, slopes = [], []
    for noise in (0.0, 5.0):
        there = (logits + noise * (target < 0)[:, None] * torch.randn_like(logits)).requires_grad_()
        total = loss_of(there, target, settings, task=TUMOUR).total
        total.backward()
        totals.append(total.detach())
        slopes.append(there.grad)
    torch.testing.assert_close(*totals)
    assert all((slope.movedim(1, -1)[target < 0] == 0).all() for slope in slopes)
    assert (slopes[0].movedim(1, -1)[target >= 0] != 0).any()


@pytest.mark.parametrize("settings", [FOCAL, TVERSKY, GENERALISED, ALL, REGIONS])
def test_no_case_at_all_is_zero_with_a_gradient_of_zero(settings):
    logits, target = material(2, classes=4)
    logits.requires_grad_()
    batch = Batch(image=logits, targets={"label": target}, present={"label": torch.zeros(3).bool()})
    total = settings.build(TUMOUR)(Output((), logits.flatten(1), {"label": logits}), batch).total
    total.backward()
    assert total == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_has_a_finite_slope_where_all_is_certain(gamma):
    _, target = material(2)
    for scale in (200, -200):
        logits = (scale * one_hot(target, 3)).requires_grad_()
        loss_of(logits, target, FOCAL.model_copy(update={"focal_gamma": gamma})).total.backward()
        assert torch.isfinite(logits.grad).all()


def test_supervised_takes_class_weights_and_variants_for_masks():
    logits, target = material(3)
    batch = Batch(image=logits, targets={"label": target}, present={"label": torch.ones(3).bool()})

    def total(**settings):
        nets = {"net": lambda image: Output((), image.flatten(1), {"label": image})}
        criterion = Supervised(**settings).build(nets, TASK)
        return criterion(nets, {"train": batch}, Progress(0, 1), "net").total

    each = DiceLoss(
        softmax=True, to_onehot_y=True, batch=True, include_background=False, reduction="none", smooth_nr=1e-5
    )
    a, b = each(logits, target[:, None]).flatten()
    theirs = (a + 3 * b) / 4 + F.cross_entropy(logits, target, weight=torch.tensor(WEIGHTS))
    torch.testing.assert_close(total(class_weights=WEIGHTS), theirs)
    assert total(class_weights=WEIGHTS) != total()
    assert total(segmentation={"tversky": 2.0}) > total()
    with pytest.raises(ConfigError, match="class_weights has 2 values for 3 classes"):
        total(class_weights=(1.0, 2.0))


def test_settings_that_do_nothing_are_refused():
    with pytest.raises(ValidationError, match="focal_gamma belongs to focal"):
        SegmentationLoss(focal_gamma=1)
    with pytest.raises(ValidationError, match="tversky_beta belongs to tversky"):
        SegmentationLoss(tversky_beta=0.9)
    with pytest.raises(ValidationError, match="leave the background out"):
        SegmentationLoss(regions=True, include_background=True)
    with pytest.raises(ValidationError, match="act on overlaps"):
        SegmentationLoss(regions=True, dice=0)
    with pytest.raises(ConfigError, match="names no regions"):
        SegmentationLoss(regions=True).build(TASK)
    assert SegmentationLoss.model_validate(ALL.model_dump()) == ALL
