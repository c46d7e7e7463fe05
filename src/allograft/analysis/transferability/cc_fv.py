"""CC-FV: for segmentation, whether a class looks alike in all images while features stay varied.

Idea      A good source gives voxels of one class the same features in every patient (class consistency) and
          does not do so by giving everything the same features (feature variety).
Paper     Yang et al., MICCAI 2023, arXiv:2307.11958
Formula   mean over layers of ln(FV / C);  C: mean 2-Wasserstein distance between Gaussians of the same class in
          pairs of images;  FV = 1 / mean(1 / d) over pairs of voxels on the unit sphere, averaged over images
Defaults  least = 2 voxels of a class in an image, most = 200 pairs of images a class (ours).
Differs   1. The mean over layers in place of the sum, so that encoders with other numbers of layers compare.
          2. A layer's features are divided by their root mean square norm before distances are taken
          (scale_free): otherwise a network whose features are merely small looks consistent.
          3. Voxels with equal features count once in FV: windows of a coarse layer share cells.
          4. The formula, not the released code, which does not invert FV and adds the distance twice.
Checked   tests/unit/analysis/test_cc_fv.py: worked FV and Wasserstein distance; matrix square roots; scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from allograft.analysis.transferability.labelled import Array, features_of
from allograft.core.errors import DataError
from allograft.core.reference import Reference

__all__ = ["PAPER", "cc_fv", "class_consistency", "feature_variety", "variety", "wasserstein"]

PAPER = Reference(
    title="Pick the Best Pre-trained Model: Towards Transferability Estimation for Medical Image Segmentation",
    authors=("Yang", "Wei", "He", "Yang", "Ye", "Gu"),
    year=2023,
    venue="MICCAI",
    arxiv="2307.11958",
)

LEAST, MOST = 2, 200


def cc_fv(
    layers: Sequence[npt.ArrayLike], labels: npt.ArrayLike, images: npt.ArrayLike, *, scale_free: bool = True
) -> float:
    """Return ln(feature variety / class consistency), averaged over layers; larger promises more.

    Args:
        layers: features (V, C_l) of the same V voxels in each layer.
        labels: (V,) classes; voxels below 1 (background, ignored) only take part in the variety.
        images: (V,) the image of each voxel.
        scale_free: whether a layer's features are divided by their root mean square norm first.

    Raises:
        DataError: shapes do not fit, no class lies in two images, or a layer gives every voxel the same.
    """
    if not layers:
        msg = "CC-FV needs the features of at least one layer."
        raise DataError(msg)
    found = [features_of(layer) for layer in layers]
    if scale_free:
        found = [layer / (np.sqrt((layer**2).sum(1).mean()) or 1.0) for layer in found]
    of, where = np.asarray(labels), np.asarray(images)
    if any(len(layer) != len(of) for layer in found) or of.shape != where.shape:
        msg = f"CC-FV: expected labels and images for each of {len(found[0])} voxels, got {of.shape}, {where.shape}."
        raise DataError(msg)
    each = [np.log(feature_variety(layer, where) / class_consistency(layer, of, where)) for layer in found]
    return float(np.mean(each))


def class_consistency(features: Array, labels: npt.NDArray[np.int64], images: npt.NDArray[np.int64]) -> float:
    """Return the mean Wasserstein distance of the same class in pairs of images, > 0; small is good.

    Raises:
        DataError: no class has `LEAST` voxels in two images, or no pair differs.
    """
    distances: list[float] = []
    for name in (int(each) for each in np.unique(labels) if each > 0):
        clouds = [features[(labels == name) & (images == image)] for image in np.unique(images)]
        pairs = list(combinations([cloud for cloud in clouds if len(cloud) >= LEAST], 2))
        step = -(-len(pairs) // MOST) if pairs else 1
        distances += [wasserstein(a, b) for a, b in pairs[::step]]
    mean = float(np.mean(distances)) if distances else 0.0
    if mean <= 0:
        why = "no class has voxels in two images" if not distances else "a layer's features do not vary"
        msg = f"CC-FV: {why}, so that class consistency has no value."
        raise DataError(msg)
    return mean


def wasserstein(first: Array, second: Array) -> float:
    """Return the 2-Wasserstein distance of Gaussians with the moments of two clouds (n, C) and (m, C), n, m >= 2.

    The trace of the root of S_s^{1/2} S_t S_s^{1/2} is the sum of singular values of the centred clouds' product,
    an n x m matrix: no covariance of C x C is made.
    """
    a, b = (cloud - cloud.mean(0) for cloud in (first, second))
    a, b = a / np.sqrt(len(a) - 1), b / np.sqrt(len(b) - 1)
    shared = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    moved = float(((first.mean(0) - second.mean(0)) ** 2).sum())
    return float(np.sqrt(max(moved + float((a**2).sum()) + float((b**2).sum()) - 2 * shared, 0.0)))


def feature_variety(features: Array, images: npt.NDArray[np.int64]) -> float:
    """Return the variety of voxels on the unit sphere, averaged over images that have two different ones.

    Raises:
        DataError: no image has.
    """
    length = np.linalg.norm(features, axis=1)
    found = []
    for image in np.unique(images):
        rows = (images == image) & (length > 0)
        points = np.unique(features[rows] / length[rows, None], axis=0)
        if len(points) > 1:
            found.append(variety(points))
    if not found:
        msg = "CC-FV: a layer gives all voxels of an image the same features, so that feature variety has no value."
        raise DataError(msg)
    return float(np.mean(found))


def variety(points: Array) -> float:
    """Return 1 / mean(1 / d) over the pairs of different points (n, C), n >= 2."""
    return float(1 / np.mean(1 / pdist(points)))
