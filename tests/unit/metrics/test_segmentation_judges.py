"""Segmentation metrics against MONAI, scikit-image and SimpleITK, where these are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy import ndimage
from skimage.metrics import hausdorff_distance

from allograft.metrics.segmentation.assd import ASSD
from allograft.metrics.segmentation.dice import Dice
from allograft.metrics.segmentation.hd95 import HD95
from allograft.metrics.segmentation.iou import IoU
from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.surface_dice import SurfaceDice

CASES = [(seed, dims) for seed in range(4) for dims in (2, 3)]


def blobs(seed, dims):
    """Two synthetic blobs that overlap in part, and a spacing."""
    noise = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(noise.normal(size=(2, *[24] * dims)), sigma=(0, *[2.5] * dims))
    both = field + 2 * ndimage.gaussian_filter(noise.normal(size=[24] * dims), sigma=2.5)
    prediction, truth = both > np.quantile(both, 0.75)
    return prediction, truth, tuple(noise.uniform(0.4, 3, size=dims))


def as_monai(mask):
    return torch.from_numpy(mask)[None, None].float()


@pytest.mark.parametrize(("seed", "dims"), CASES)
def test_synthetic_blobs_score_as_in_monai(seed, dims):
    prediction, truth, spacing = blobs(seed, dims)
    p, t = as_monai(prediction), as_monai(truth)
    hd = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=list(spacing))
    assd = compute_average_surface_distance(p, t, include_background=True, symmetric=True, spacing=list(spacing))
    nsd = compute_surface_dice(p, t, class_thresholds=[1.0], include_background=True, spacing=list(spacing))
    assert HD95().value(prediction, truth, spacing) == pytest.approx(hd.item(), rel=1e-5)
    assert ASSD().value(prediction, truth, spacing) == pytest.approx(assd.item(), rel=1e-5)
    assert SurfaceDice(tolerance_mm=1).value(prediction, truth, spacing) == pytest.approx(nsd.item(), rel=1e-5)
    assert Dice().value(prediction, truth, spacing) == pytest.approx(compute_dice(p, t).item(), rel=1e-6)
    assert IoU().value(prediction, truth, spacing) == pytest.approx(compute_iou(p, t).item(), rel=1e-6)


def test_where_monai_drops_a_synthetic_miss_ours_counts_it():
    truth = np.zeros((10, 10), dtype=bool)
    truth[3:6, 3:6] = True
    theirs = compute_hausdorff_distance(as_monai(np.zeros_like(truth)), as_monai(truth), include_background=True)
    assert not math.isfinite(theirs.item())
    assert HD95().value(np.zeros_like(truth), truth, (1, 1)) == pytest.approx(math.hypot(10, 10))


@pytest.mark.parametrize(("seed", "dims"), CASES[:2])
def test_the_largest_distance_between_synthetic_surfaces_is_scikit_images(seed, dims):
    prediction, truth, _ = blobs(seed, dims)
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth)]
    distances = MaskPair(prediction, truth, [1] * dims).distances
    assert max(each.max() for each in distances) == pytest.approx(hausdorff_distance(*surfaces))


@pytest.mark.parametrize(("seed", "dims"), CASES[:4])
def test_synthetic_blobs_overlap_as_in_simpleitk(seed, dims):
    sitk = pytest.importorskip("SimpleITK")
    prediction, truth, spacing = blobs(seed, dims)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert Dice().value(prediction, truth, spacing) == pytest.approx(overlap.GetDiceCoefficient())
    assert IoU().value(prediction, truth, spacing) == pytest.approx(overlap.GetJaccardCoefficient())


@pytest.mark.parametrize("seed", [0, 1])
def test_distances_to_a_synthetic_surface_are_simpleitks(seed):
    sitk = pytest.importorskip("SimpleITK")
    prediction, truth, spacing = blobs(seed, 3)
    surface = truth & ~ndimage.binary_erosion(truth)
    image = sitk.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    far = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    )
    theirs = np.maximum(far, 0)[prediction & ~ndimage.binary_erosion(prediction)]
    ours = MaskPair(prediction, truth, spacing).distances.to_truth
    # SimpleITK is negative in the depth of an object, where ours is 0.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
