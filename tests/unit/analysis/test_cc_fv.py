"""CC-FV: worked values, an outside judge, invariances, and the traps of the released code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from allograft.analysis.transferability.cc_fv import cc_fv, class_consistency, feature_variety, variety, wasserstein
from allograft.core.errors import DataError


def toy(n, d, a, b, shift=0.0, scale=1.0):
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return scale * np.sin(a * i + b * j + 0.1 * i * j) + shift


POINTS = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])


def test_variety_gives_the_worked_value():
    assert variety(POINTS) == pytest.approx(6)


def test_the_released_code_is_refuted_by_the_same_points():
    distances = np.array([5.0, 10.0, 5.0])
    released = np.mean(1 / np.sqrt(distances**2 + 1e-3))  # not inverted
    assert released != pytest.approx(6, abs=1)


def test_wasserstein_gives_the_worked_value_of_two_clouds():
    first, second = toy(12, 3, 1.0, 2.0), toy(10, 3, 0.7, 1.3, shift=0.5, scale=1.5)
    assert wasserstein(first, second) == pytest.approx(1.3096431231, abs=1e-10)


@pytest.mark.parametrize("channels", [3, 40])
def test_wasserstein_is_that_of_matrix_square_roots_also_with_more_channels_than_voxels(channels):
    first, second = toy(12, channels, 1.0, 2.0), toy(10, channels, 0.7, 1.3, shift=0.5)
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(a).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(root @ b @ root).real)
    assert wasserstein(first, second) ** 2 == pytest.approx(expected, abs=1e-5)


def test_wasserstein_of_a_cloud_with_itself_is_none():
    cloud = toy(12, 3, 1.0, 2.0)
    assert wasserstein(cloud, cloud) == pytest.approx(0, abs=1e-6)
    assert wasserstein(cloud, cloud + 2) == pytest.approx(2 * np.sqrt(3), abs=1e-6)


def volumes(*, apart: float, images: int = 4):
    """Return synthetic voxels of two classes in some images, whose features move by `apart` from image to image."""
    rng = np.random.default_rng(0)
    labels, where = np.tile(np.repeat([0, 1, 2], 10), images), np.repeat(np.arange(images), 30)
    centre = rng.normal(size=(3, 6)) * 3
    shift = rng.normal(size=(images, 6)) * apart
    return centre[labels] + shift[where] + 0.3 * rng.normal(size=(len(labels), 6)), labels, where


def test_a_class_that_looks_alike_in_all_images_scores_higher_synthetic():
    alike, other = volumes(apart=0.1), volumes(apart=3.0)
    assert class_consistency(*alike) < class_consistency(*other)
    assert cc_fv([alike[0]], *alike[1:]) > cc_fv([other[0]], *other[1:])


def test_shuffled_labels_score_lower_synthetic():
    f, labels, images = volumes(apart=0.1)
    rng = np.random.default_rng(0)
    shuffled = [cc_fv([f], rng.permutation(labels), images) for _ in range(10)]
    assert np.mean(shuffled) < cc_fv([f], labels, images)


def test_rotation_order_and_scale_change_nothing_but_raw_scale_does_synthetic():
    f, labels, images = volumes(apart=0.5)
    expected = cc_fv([f], labels, images)
    turned = f @ np.linalg.qr(toy(6, 6, 0.3, 2.1))[0]
    order = np.random.default_rng(1).permutation(len(f))
    assert cc_fv([turned], labels, images) == pytest.approx(expected, abs=1e-9)
    assert cc_fv([f[order]], labels[order], images[order]) == pytest.approx(expected, abs=1e-9)
    assert cc_fv([f * 100], labels, images) == pytest.approx(expected, abs=1e-9)
    raw = cc_fv([f], labels, images, scale_free=False)
    assert cc_fv([f / 100], labels, images, scale_free=False) == pytest.approx(raw + np.log(100), abs=1e-9)


def test_layers_are_averaged_and_background_takes_no_part_in_consistency_synthetic():
    f, labels, images = volumes(apart=0.5)
    g = volumes(apart=1.0)[0]
    both = cc_fv([f, g], labels, images)
    assert both == pytest.approx((cc_fv([f], labels, images) + cc_fv([g], labels, images)) / 2)
    moved = f + 50 * ((labels == 0) & (images == 1))[:, None]
    assert class_consistency(moved, labels, images) == pytest.approx(class_consistency(f, labels, images))


def test_equal_features_count_once_in_variety():
    images = np.zeros(4, dtype=np.int64)
    doubled = np.concatenate([np.eye(3), np.eye(3)[:1]])
    assert feature_variety(doubled, images) == pytest.approx(np.sqrt(2))


def test_what_has_no_value_is_said():
    f, labels, images = volumes(apart=0.5)
    with pytest.raises(DataError, match="no class has voxels in two images"):
        cc_fv([f], labels, np.zeros_like(images))
    with pytest.raises(DataError, match="same features"):
        cc_fv([np.ones_like(f)], labels, images)
    with pytest.raises(DataError, match="each of"):
        cc_fv([f], labels[:5], images)
    with pytest.raises(DataError, match="at least one layer"):
        cc_fv([], labels, images)
