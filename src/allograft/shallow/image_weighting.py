"""Image weighting: each training image counts as much as it helps the mixture to look like the target image.

Idea      Of many training images from many scanners some look like the target. Weigh images so that the mixture of
          their voxels' feature densities resembles that of the target's voxels, of which no label is read; then train
          a weighted classifier.
Paper     van Opbroek, Vernooij, Ikram, de Bruijne. Weighting training images by maximizing distribution similarity for
          supervised segmentation across scanners. Medical Image Analysis 2015;  "mmd": van Opbroek, Achterberg,
          Vernooij, de Bruijne. Transfer learning for image segmentation by combining image weighting and kernel
          learning. IEEE Transactions on Medical Imaging 2019.  doi:10.1109/TMI.2018.2859478
Formula   min_w D(q, sum_m w_m p_m)   over w >= 0, sum w = 1;   D: "kl" sum q log(q / mix);  "bhattacharyya"
          -log sum sqrt(q mix);  "euclid" sum (mix - q)^2;  "mmd" |sum w_m mean phi(x_m) - mean phi(x_t)|^2.
          A voxel of image m then weighs w_m / n_m.
Defaults  criterion = "kl", density = "cells", cells = 256, components = 512, points = 2000, floor = 1e-4 (ours).
Differs   Densities are counted on cells around k-means centres, or by Parzen windows on drawn voxels (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from allograft.core.errors import DataError
from allograft.shallow.feature_map import MixedKernel, draw_map
from allograft.shallow.image_density import chunks, histograms, parzen_ratios, some_rows
from allograft.shallow.simplex_qp import newton_on_simplex, simplex_qp

__all__ = ["Criterion", "ImageWeighting", "divergence_weights", "mean_embeddings", "mmd_weights"]

Array = npt.NDArray[np.float64]
Criterion = Literal["kl", "bhattacharyya", "euclid", "mmd"]


class ImageWeighting(BaseEstimator):  # type: ignore[misc]
    """Weights of images for one target; features on scales of their own are to be standardised before.

    Args:
        criterion: "kl", "bhattacharyya", "euclid" or "mmd".
        density: of the first three: "cells" (a histogram over all voxels) or "parzen" (of `points` drawn voxels).
        cells: of the histogram, at most.
        kernel_map: of "mmd": "fourier" (all voxels, mean of random features) or "exact" (blocks of kernel values,
            whose number grows with the square of the voxels).
        components: random features, >= 2.
        gamma: of "mmd" and Parzen windows, exp(-gamma |x - y|^2), or "scale", 1 / (F var(x)).
        kernel: another kernel in its place.
        floor: share added to every density, >= 0.
        points: voxels of each image that Parzen windows are made of, at most.
        memory: megabytes of intermediate numbers, > 0.
        random_state: of centres, drawn voxels and random features.

    Attributes:
        weights_: (M,), >= 0, sum 1, in the order of the images.
        value_: the criterion there.
        error_: with random features the largest standard error of an inner product of mean features; else 0.
    """

    def __init__(  # noqa: PLR0913 - an estimator's settings are its arguments
        self,
        criterion: Criterion = "kl",
        *,
        density: Literal["cells", "parzen"] = "cells",
        cells: int = 256,
        kernel_map: Literal["exact", "fourier"] = "fourier",
        components: int = 512,
        gamma: float | Literal["scale"] = "scale",
        kernel: MixedKernel | None = None,
        floor: float = 1e-4,
        points: int = 2000,
        memory: float = 256.0,
        random_state: int = 0,
    ) -> None:
        self.criterion = criterion
        self.density = density
        self.cells = cells
        self.kernel_map = kernel_map
        self.components = components
        self.gamma = gamma
        self.kernel = kernel
        self.floor = floor
        self.points = points
        self.memory = memory
        self.random_state = random_state

    def fit(self, images: Sequence[npt.ArrayLike], target: npt.ArrayLike) -> Self:
        """Set the weights.

        Args:
            images: voxels of each training image, (n_m, F).
            target: voxels of the target, (n, F).

        Raises:
            DataError: no image, an image without voxels, other features, or values that are not finite.
        """
        arrays = [np.asarray(x) for x in (*images, target)]
        _check(arrays)
        self.error_ = 0.0
        if self.criterion == "mmd":
            self.weights_, self.value_ = self._by_mmd(arrays)
        elif self.density == "parzen":
            self.weights_, self.value_ = self._by_parzen(arrays)
        else:
            counted = histograms(
                arrays, self.cells, floor=self.floor / self.cells, memory=self.memory, seed=self.random_state
            )
            self.weights_, self.value_ = divergence_weights(counted[:-1], counted[-1], self.criterion)
        return self

    def sample_weights(self, counts: Sequence[int]) -> Array:
        """Return a weight for each voxel of images with these numbers of voxels, in order; their mean is 1.

        A voxel of image m gets w_m / n_m, times the number of all voxels.
        """
        each = np.repeat(self.weights_ / np.asarray(counts), counts)
        return cast("Array", each * len(each) / each.sum())

    def _by_mmd(self, arrays: Sequence[npt.NDArray[Any]]) -> tuple[Array, float]:
        kernel = self._kernel(arrays)
        if self.kernel_map == "exact":
            inner = _exact_means(arrays, kernel, self.memory)
        else:
            rng = np.random.default_rng(self.random_state)
            means = mean_embeddings(arrays, kernel, self.components, memory=self.memory, rng=rng)
            inner, self.error_ = means @ means.T, _standard_error(means)
        weights = mmd_weights(inner[:-1, :-1], inner[:-1, -1])
        return weights, _mmd(inner, weights)

    def _by_parzen(self, arrays: Sequence[npt.NDArray[Any]]) -> tuple[Array, float]:
        rng = np.random.default_rng(self.random_state)
        drawn = [np.asarray(some_rows(x, self.points, rng), dtype=np.float64) for x in arrays]
        kernel = self._kernel(arrays)
        if self.criterion == "euclid":  # the integral of a product of windows is a window of twice the variance
            wide = MixedKernel(kernel.theta, kernel.rates / 2)
            inner = _exact_means(drawn, wide, self.memory)
            weights = mmd_weights(inner[:-1, :-1], inner[:-1, -1])
            return weights, _mmd(inner, weights)
        masses, own = parzen_ratios(drawn[:-1], drawn[-1], kernel, self.floor)
        return divergence_weights(masses, own, self.criterion)

    def _kernel(self, arrays: Sequence[npt.NDArray[Any]]) -> MixedKernel:
        if self.kernel is not None:
            return self.kernel
        features = arrays[0].shape[1]
        if self.gamma != "scale":
            return MixedKernel.gaussian(float(self.gamma), features)
        rng = np.random.default_rng(0)
        spread = float(np.concatenate([some_rows(x, self.points, rng) for x in arrays]).astype(np.float64).var())
        return MixedKernel.gaussian(1 / (features * spread) if spread > 0 else 1.0, features)


def divergence_weights(images: Array, target: Array, criterion: Criterion) -> tuple[Array, float]:
    """Return the weights (M,) of densities (M, B) whose mixture is nearest to the target's (B,), and how far it is.

    Args:
        images: masses > 0 wherever the target has one.
        target: masses, summing to 1.
        criterion: "kl", "bhattacharyya" or "euclid".

    >>> p = np.array([[0.5, 0.5], [0.9, 0.1]])
    >>> divergence_weights(p, np.array([0.6, 0.4]), "kl")[0].round(6).tolist()
    [0.75, 0.25]
    """
    seen = target > 0

    def smooth(w: Array) -> tuple[float, Array, Array]:
        mix = w @ images
        if criterion == "euclid":
            gap = mix - target
            return float(gap @ gap), 2 * images @ gap, 2 * images @ images.T
        p, q, m = images[:, seen], target[seen], mix[seen]
        if criterion == "kl":
            return float(q @ np.log(q / m)), -p @ (q / m), (p * (q / m**2)) @ p.T
        overlap = float(np.sqrt(q * m).sum())
        slope, curve = p @ np.sqrt(q / m) / 2, (p * (np.sqrt(q) * m**-1.5)) @ p.T / 4
        return -np.log(overlap), -slope / overlap, curve / overlap + np.outer(slope, slope) / overlap**2

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return newton_on_simplex(smooth, len(images))


def mmd_weights(between: Array, towards: Array) -> Array:
    """Return the w on the simplex that minimises w'Kw - 2 w'k.

    Args:
        between: K (M, M), mean kernel between the voxels of two images.
        towards: k (M,), mean kernel between an image and the target.
    """
    return simplex_qp(between, towards)


def mean_embeddings(
    arrays: Sequence[npt.NDArray[Any]], kernel: MixedKernel, components: int, *, memory: float, rng: np.random.Generator
) -> Array:
    """Return (I, D), the mean random Fourier features of each image's voxels (n, F), read in float32 block by block."""
    drawn = draw_map("fourier", kernel, np.zeros((1, arrays[0].shape[1])), components, rng)
    frequencies, amplitude = drawn.points.astype(np.float32).T, cast("Array", drawn.mix)
    half = frequencies.shape[1]
    sums = np.zeros((len(arrays), 2 * half))
    for i, x in enumerate(arrays):
        for part in chunks(len(x), 3 * half, memory):
            angle = np.asarray(x[part], dtype=np.float32) @ frequencies
            wave, ones = np.cos(angle), np.ones(len(angle), dtype=np.float32)
            sums[i, :half] += ones @ wave
            np.sin(angle, out=wave)
            sums[i, half:] += ones @ wave
    counts = np.array([len(x) for x in arrays], dtype=np.float64)
    return sums / counts[:, None] * np.tile(amplitude, 2)


def _standard_error(means: Array) -> float:
    """Return the largest standard error of an inner product of mean features, from how its frequencies differ."""
    half = means.shape[1] // 2
    if half < 2:
        return float("inf")
    cosines, sines = means[:, :half], means[:, half:]
    first = (means @ means.T) / half
    second = (cosines**2) @ (cosines**2).T + (sines**2) @ (sines**2).T + 2 * (cosines * sines) @ (cosines * sines).T
    return float(np.sqrt(np.maximum(second / half - first**2, 0).max() * half**2 / (half - 1)))


def _exact_means(arrays: Sequence[npt.NDArray[Any]], kernel: MixedKernel, memory: float) -> Array:
    """Return (I, I), the mean kernel between the voxels of two images, block by block."""
    out, double = np.zeros((len(arrays), len(arrays))), [np.asarray(x, dtype=np.float64) for x in arrays]
    for a, one in enumerate(double):
        for b in range(a + 1):
            total = sum(float(kernel(one[p], double[b]).sum()) for p in chunks(len(one), 4 * len(double[b]), memory))
            out[a, b] = out[b, a] = total / (len(one) * len(double[b]))
    return out


def _mmd(inner: Array, weights: Array) -> float:
    signed = np.append(weights, -1.0)
    return max(0.0, float(signed @ inner @ signed))


def _check(arrays: Sequence[npt.NDArray[Any]]) -> None:
    shapes = {x.shape[1:] for x in arrays}
    if len(arrays) < 2 or len(shapes) > 1 or any(x.ndim != 2 or not len(x) for x in arrays):
        msg = (
            "image weighting needs at least one image and a target, each (voxels, features) with voxels and the same "
            f"features; got shapes {[x.shape for x in arrays][:4]}."
        )
        raise DataError(msg)
    wrong = [i for i, x in enumerate(arrays) if not np.isfinite(x).all()]
    if wrong:
        msg = f"image {wrong[0]}: a feature is not finite. Leave out such voxels."
        raise DataError(msg)
