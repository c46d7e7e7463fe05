"""Histogram matching: scikit-image as judge, a rising curve is undone, and the step sees changed images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.exposure import match_histograms as judge

from allograft.functional.histogram import match_histogram, match_histograms
from allograft.objectives.histogram_matching import HistogramMatching
from allograft.objectives.supervised import Supervised
from two_domain_material import batches, loss_of, nets_of


def drawn(shape, seed, levels=0):
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0 + seed, 1.0, shape).astype(np.float32)
    return np.round(values * levels) / levels if levels else values


@pytest.mark.parametrize("shape", [(2, 13, 11), (2, 7, 6, 9)])
@pytest.mark.parametrize("levels", [0, 3])
def test_equals_scikit_image_on_synthetic_images_with_and_without_ties(shape, levels):
    source, target = drawn(shape, 0, levels).astype(np.float64), drawn(shape, 1, levels).astype(np.float64)
    expected = np.stack([judge(a, b) for a, b in zip(source, target, strict=True)])
    found = match_histograms(torch.from_numpy(source)[None], torch.from_numpy(target)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_images_may_differ_in_size_and_hold_one_value_only():
    source, target = drawn((40,), 0).astype(np.float64), drawn((7, 9), 1).astype(np.float64)
    found = match_histogram(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(found, judge(source[None], target)[0], atol=1e-10)
    torch.testing.assert_close(match_histogram(torch.arange(5.0), torch.full((3,), 2.5)), torch.full((5,), 2.5))
    blank = match_histogram(torch.zeros(4), torch.tensor([1.0, 2.0, 7.0]))
    assert blank.tolist() == [7.0] * 4  # a blank image is its own last quantile, as in scikit-image


@pytest.mark.parametrize("dims", [2, 3])
def test_a_rising_curve_is_undone_and_order_is_kept(dims):
    image = torch.from_numpy(drawn((2, 3, *[7] * dims), 0))
    bent = 3 * image.exp() - 40
    torch.testing.assert_close(match_histograms(bent, image), image)
    other = torch.from_numpy(drawn((2, 3, *[7] * dims), 1))
    made = match_histograms(image, other)
    for a, b in zip(image.flatten(0, 1), made.flatten(0, 1), strict=True):
        assert torch.equal(a.flatten().argsort(), b.flatten().argsort())
    torch.testing.assert_close(match_histograms(2 * image - 1, 2 * other - 1), 2 * made - 1)


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation"), (2, "regression"), (3, "binary")])
def test_the_mechanism_acts_the_loss_is_that_of_matched_images(dims, kind):
    nets, task, batch = *nets_of(dims, kind), batches(dims, kind)
    batch["target"].image[:] = batch["target"].image[:1]
    found = loss_of(HistogramMatching(), nets, task, batch)
    made = match_histograms(batch["source"].image, batch["target"].image[:4])
    supervised, plain = (loss_of(Supervised(), nets, task, {"train": batch["source"]}, image=x) for x in (made, None))
    assert torch.equal(found.total, supervised.total)
    assert not torch.equal(found.total, plain.total)
    torch.testing.assert_close(found.parts["change"], (made - batch["source"].image).abs().mean())


def test_every_source_image_gets_the_values_of_one_random_target_image():
    nets, task, batch = *nets_of(2, "multiclass"), batches(2, "multiclass", size=40)
    criterion = HistogramMatching().build(nets, task)
    target = batch["target"].image
    torch.manual_seed(0)
    made = criterion.changed(batch["source"].image, target, None)
    whose = [[i for i in range(6) if torch.allclose(one.amax((1, 2)), target[i].amax((1, 2)))] for one in made]
    assert all(len(found) == 1 for found in whose)
    assert {found[0] for found in whose} == set(range(6))
