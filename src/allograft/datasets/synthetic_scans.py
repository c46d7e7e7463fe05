"""Synthetic scans: one anatomy deformed at random, given a lesion where asked, and re-contrasted; arrays only.

A subject is the template pulled through a smooth random displacement (Gaussian noise, smoothed): its T1 and tissue
maps are read linearly at the displaced places and the labels are the largest of the displaced maps, so that image
and labels say the same. A lesion is an ellipsoid with an uneven edge in white matter: edema around an enhancing ring
around a core. Each channel is the mix of the tissues' means (`MEANS`, numbers of our own, chosen so that the order
of tissues is that of a textbook; each scan varies them a little), half of the detail that the template's T1 shows
beyond its tissue maps, a smooth bias field and Rician noise; outside of the brain there is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from allograft.datasets.brain_tissue import tissue

__all__ = ["MEANS", "SCANNERS", "Anatomy", "Modality", "Scanner", "deform", "guess", "lesion", "scan", "smooth_noise"]

Volume = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Modality = Literal["t1", "t1c", "t2", "flair"]

TISSUES = ("fluid", "grey", "white", "edema", "core", "enhancing")
MEANS: Mapping[Modality, tuple[float, ...]] = {
    "t1": (0.25, 0.60, 0.90, 0.52, 0.40, 0.55),
    "t1c": (0.25, 0.62, 0.92, 0.52, 0.42, 1.35),
    "t2": (1.30, 0.75, 0.55, 1.05, 1.15, 0.90),
    "flair": (0.20, 0.70, 0.58, 1.25, 0.90, 1.05),
}
"""Brightness of each of `TISSUES` at scanner a, before gain, bias and noise: made up, not measured."""

VARY = 0.04
"""Standard deviation of each mean from one scan to the next, as a part of it."""

DETAIL = 0.5
BIAS_MM = 45.0
RADII_MM = (14.0, 24.0)
CORE, HOLE = 0.65, 0.4
"""The tumour core and the hole in its enhancing ring end at these parts of the lesion's radius."""


class Scanner(NamedTuple):
    """How a machine sees.

    Args:
        power: exponent on the means; below 1 tissues look more alike.
        gain: brightness of a tissue with mean 1.
        bias: standard deviation of the bias field's logarithm.
        noise: standard deviation of the noise, as a part of `gain`.
    """

    power: float
    gain: float
    bias: float
    noise: float


SCANNERS: Mapping[str, Scanner] = {"a": Scanner(1.0, 1000.0, 0.06, 0.04), "b": Scanner(0.7, 600.0, 0.12, 0.07)}


class Anatomy(NamedTuple):
    """One head: T1 with 1 for white matter, and the shares of grey and white matter; each (D, H, W)."""

    t1: Volume
    grey: Volume
    white: Volume

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Where the brain is, its fluid included."""
        return (self.t1 > 0.1) | (self.grey + self.white > 0.5)

    def labels(self) -> Labels:
        """Return 0 background with fluid, 1 grey and 2 white matter."""
        return tissue(self.grey, self.white)


def smooth_noise(shape: Sequence[int], sigma: float, rng: np.random.Generator) -> Volume:
    """Return smooth Gaussian noise (*shape) with mean 0 and standard deviation 1; `sigma` in elements."""
    rough = rng.standard_normal(tuple(shape)).astype(np.float32)
    noise: Volume = ndimage.gaussian_filter(rough, sigma, mode="wrap", truncate=3)
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def deform(head: Anatomy, amplitude: float, smoothness: float, rng: np.random.Generator) -> Anatomy:
    """Return the head pulled through a random displacement.

    Args:
        head: the template.
        amplitude: standard deviation of the displacement along each axis, in elements.
        smoothness: standard deviation of the smoothing kernel, in elements; at four times the amplitude or more
            the displacement does not fold.
        rng: draws the displacement.
    """
    shape = head.t1.shape
    places = [
        axis + amplitude * smooth_noise(shape, smoothness, rng)
        for axis in np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    ]
    at = np.stack(np.broadcast_arrays(*places))
    return Anatomy(*(ndimage.map_coordinates(each, at, order=1, mode="constant", cval=0.0) for each in head))


def lesion(head: Anatomy, spacing: float, rng: np.random.Generator) -> Labels:
    """Return 0 nothing, 1 edema, 2 core, 3 enhancing (D, H, W); centred in white matter, no part outside of the brain.

    Args:
        head: where it grows.
        spacing: distance of elements in mm.
        rng: draws place, size and form.
    """
    inside, shape = head.inside, head.t1.shape
    deep = np.argwhere((head.white > 0.5) & (ndimage.distance_transform_edt(inside) * spacing > RADII_MM[0] / 2))
    centre = deep[rng.integers(len(deep))]
    radii = rng.uniform(*RADII_MM, size=3) / spacing
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    away = np.sqrt(sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)))
    away = away * (1 + 0.12 * smooth_noise(shape, 8 / spacing, rng))
    found = np.zeros(shape, np.uint8)
    for edge, label in ((1.0, 1), (CORE, 3), (HOLE, 2)):
        found[(away < edge) & inside] = label
    return found


def scan(
    head: Anatomy, found: Labels | None, modality: Modality, machine: Scanner, spacing: float, rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """Return one channel (D, H, W) of a head, 0 outside of the brain.

    Args:
        head: the subject.
        found: its lesion as `lesion` gives it, None for none.
        modality: whose means are used.
        machine: that sees it.
        spacing: distance of elements in mm.
        rng: draws the means' variation, bias and noise.
    """
    fluid = np.clip(1 - head.grey - head.white, 0, 1)
    own = np.asarray(MEANS["t1"], np.float32)
    detail = DETAIL * (head.t1 - own[0] * fluid - own[1] * head.grey - own[2] * head.white)
    means = np.asarray(MEANS[modality], np.float32) ** machine.power
    means *= 1 + VARY * rng.standard_normal(len(means)).astype(np.float32)
    clean = means[0] * fluid + means[1] * head.grey + means[2] * head.white + detail
    if found is not None:
        ill = found > 0
        clean[ill] = means[2 + found[ill].astype(int)]
    bias = np.exp(machine.bias * smooth_noise(clean.shape, BIAS_MM / spacing, rng))
    real, other = machine.noise * rng.standard_normal((2, *clean.shape)).astype(np.float32)
    seen = machine.gain * np.hypot(np.clip(clean, 0, None) * bias + real, other)
    return np.where(head.inside, np.rint(seen), 0).astype(np.int16)


def guess(images: Mapping[Modality, npt.NDArray[np.int16]], machine: Scanner, *, ill: bool) -> Labels:
    """Return labels that a simple tool would give: each voxel takes the tissue whose means are nearest.

    Bias, noise and mixed voxels make it err, as an atlas tool errs.

    Args:
        images: channels by modality.
        machine: that took them.
        ill: True for lesion classes (the largest connected piece of what looks like a lesion), False for tissue.
    """
    kinds = len(TISSUES) if ill else 3
    apart = np.zeros((kinds, *next(iter(images.values())).shape), np.float32)
    for modality, image in images.items():
        seen = ndimage.gaussian_filter(image.astype(np.float32), 0.5) / machine.gain
        for kind, mean in enumerate(MEANS[modality][:kinds]):
            apart[kind] += (seen - mean**machine.power) ** 2
    nearest = np.argmin(apart, axis=0)
    nearest[next(iter(images.values())) == 0] = 0
    if not ill:
        return np.asarray(nearest, np.uint8)
    pieces, n = ndimage.label(nearest > 2)
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel(), minlength=n + 1)[1:])) if n else 0
    return np.where((pieces == largest) & (nearest > 2), nearest - 2, 0).astype(np.uint8)
