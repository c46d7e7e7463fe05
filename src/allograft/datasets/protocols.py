"""Protocols: what a brain of known tissue shares looks like at a site, from tissue parameters; arrays only.

The brightness of a voxel is the sum of its tissues' signals, each times the tissue's share of the voxel. A signal
follows from the tissue's proton density and relaxation times and from the site's repetition time, echo time and flip
angle (steady state of ideal pulses):

| echo | signal |
|---|---|
| spin (90, 180 degrees) | PD (1 - 2 exp(-(TR - TE/2) / T1) + exp(-TR / T1)) exp(-TE / T2) |
| spoiled gradient (flip a) | PD sin a (1 - E) / (1 - E cos a) exp(-TE / T2*), with E = exp(-TR / T1) |

Tissue parameters are BrainWeb's for 1.5 T (McConnell Brain Imaging Centre's file tissue_mr_parameters; Kwan, Evans and
Pike 1999, IEEE Transactions on Medical Imaging 18, 1085). Then come a smooth multiplicative bias field, the point
spread of the site's resolution (a Gaussian) and Rician noise. BrainWeb's conventions hold for two of them: a bias of
0.4 runs from 0.8 to 1.2 within the brain, and noise is a part of the brightest tissue's signal. TISSUES are BrainWeb's
numbers, SITES and VARY are ours: SITES was fixed before any method of adaptation was run on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from allograft.datasets.synthetic_scans import smooth_noise

__all__ = ["SITES", "TISSUES", "Site", "Tissue", "acquire", "bias_field", "rician", "signal"]

Volume = npt.NDArray[np.float32]
SiteName = Literal["siteA", "siteB", "siteC", "siteD"]


class Tissue(NamedTuple):
    """How a tissue answers.

    Args:
        t1: longitudinal relaxation time in ms.
        t2: transverse relaxation time in ms, as a spin echo sees it.
        t2_star: the same as a gradient echo sees it.
        density: of protons, 1 for water.
    """

    t1: float
    t2: float
    t2_star: float
    density: float


class Site(NamedTuple):
    """How a site takes its images.

    Args:
        echo: kind of sequence.
        tr: repetition time in ms.
        te: echo time in ms.
        flip: angle in degrees; a spin echo's is 90.
        bias: range of the bias field within the brain, in [0, 2).
        noise: standard deviation of each channel's noise, as a part of the brightest tissue's signal.
        blur: full width at half maximum of the point spread in mm.
    """

    echo: Literal["spin", "spoiled gradient"]
    tr: float
    te: float
    flip: float
    bias: float
    noise: float
    blur: float


TISSUES: Mapping[str, Tissue] = {
    "fluid": Tissue(2569, 329, 58, 1.0),
    "grey matter": Tissue(833, 83, 69, 0.86),
    "white matter": Tissue(500, 70, 61, 0.77),
}
SITES: Mapping[SiteName, Site] = {
    "siteA": Site("spoiled gradient", tr=18, te=10, flip=30, bias=0.1, noise=0.03, blur=2.0),
    "siteB": Site("spoiled gradient", tr=25, te=5, flip=12, bias=0.4, noise=0.04, blur=3.0),
    "siteC": Site("spin", tr=600, te=15, flip=90, bias=0.2, noise=0.03, blur=3.0),
    "siteD": Site("spin", tr=3300, te=100, flip=90, bias=0.2, noise=0.04, blur=3.0),
}
"""T1-weighted; weakly T1-weighted, uneven, noisy and coarse; T1-weighted by spin echo; T2-weighted."""

VARY = 0.03
"""Standard deviation of each relaxation time and density from one scan to the next, as a part of it."""

BIAS_MM = 45.0
GAIN = 1000.0
"""Value of the brightest tissue of TISSUES, before bias and noise."""


def signal(tissue: Tissue, site: Site) -> float:
    """Return a tissue's signal at a site, as a part of the whole magnetisation of water.

    >>> round(signal(TISSUES["white matter"], SITES["siteA"]), 4)
    0.0702
    """
    left = np.exp(-site.tr / tissue.t1)
    if site.echo == "spin":
        turned = np.exp(-(site.tr - site.te / 2) / tissue.t1)
        return float(tissue.density * (1 - 2 * turned + left) * np.exp(-site.te / tissue.t2))
    flip = np.deg2rad(site.flip)
    steady = np.sin(flip) * (1 - left) / (1 - left * np.cos(flip))
    return float(tissue.density * steady * np.exp(-site.te / tissue.t2_star))


def rician(clean: npt.NDArray[np.floating], deviation: float, rng: np.random.Generator) -> Volume:
    """Return the magnitude of a signal with Gaussian noise in both channels (*S).

    Args:
        clean: signal (*S), >= 0.
        deviation: standard deviation of each channel's noise, >= 0.
        rng: draws the noise.
    """
    real, other = deviation * rng.standard_normal((2, *clean.shape)).astype(np.float32)
    seen: Volume = np.hypot(clean + real, other).astype(np.float32)
    return seen


def bias_field(inside: npt.NDArray[np.bool_], extent: float, sigma: float, rng: np.random.Generator) -> Volume:
    """Return a smooth field (*S) that runs from 1 - extent/2 to 1 + extent/2 where `inside` holds, 0 or more elsewhere.

    Args:
        inside: the brain (*S).
        extent: range of the field in the brain, in [0, 2).
        sigma: standard deviation of its smoothing, in elements.
        rng: draws the field.
    """
    noise = smooth_noise(inside.shape, sigma, rng)
    low, high = noise[inside].min(), noise[inside].max()
    field: Volume = np.clip(1 + np.float32(extent) * ((noise - low) / (high - low) - np.float32(0.5)), 0, None)
    return field


def acquire(shares: Sequence[Volume], site: Site, spacing: float, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return the image (D, H, W) that a site takes of a head.

    Args:
        shares: fluid, grey and white matter, each (D, H, W) in [0, 1]; what they leave is air.
        site: where it lies.
        spacing: distance of elements in mm.
        rng: draws the tissues' variation, bias and noise.
    """
    usual = [signal(tissue, site) for tissue in TISSUES.values()]
    own = [Tissue(*(np.asarray(tissue) * (1 + VARY * rng.standard_normal(4)))) for tissue in TISSUES.values()]
    heights = np.array([GAIN * signal(tissue, site) / max(usual) for tissue in own], np.float32)
    tissues = np.stack(shares)
    clean = np.tensordot(heights, tissues, 1)
    clean = clean * bias_field(tissues.sum(0) > 0.5, site.bias, BIAS_MM / spacing, rng)
    # The full width at half maximum of a Gaussian is 2 sqrt(2 ln 2) = 2.3548 standard deviations.
    seen = ndimage.gaussian_filter(clean, site.blur / 2.3548 / spacing, truncate=4)
    return np.rint(rician(seen, site.noise * GAIN, rng)).astype(np.int16)
