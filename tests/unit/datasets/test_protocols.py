"""Protocols: signals against spins turned one by one, noise against scipy, the fixed sites; arrays only, no file."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from allograft.datasets.protocols import (
    BIAS_MM,
    SITES,
    TISSUES,
    Site,
    Tissue,
    acquire,
    bias_field,
    rician,
    signal,
)

Vector = np.ndarray


def rotated(spin: Vector, degrees: float) -> Vector:
    """Turn a magnetisation about the first axis."""
    a = math.radians(degrees)
    return np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]]) @ spin


def relaxed(spin: Vector, time: float, tissue: Tissue, transverse: float) -> Vector:
    """Let a magnetisation relax towards the tissue's density."""
    left, kept = math.exp(-time / tissue.t1), math.exp(-time / transverse)
    return np.array([spin[0] * kept, spin[1] * kept, tissue.density + (spin[2] - tissue.density) * left])


def followed(tissue: Tissue, site: Site, repetitions: int = 800) -> float:
    """Return the echo of a spin that is followed through many repetitions: pulses are rotations, nothing else."""
    spin, echo = np.array([0.0, 0.0, tissue.density]), 0.0
    for _ in range(repetitions):
        if site.echo == "spin":
            spin = relaxed(rotated(spin, 90), site.te / 2, tissue, tissue.t2)
            spin = relaxed(rotated(spin, 180), site.te / 2, tissue, tissue.t2)
        else:
            spin = relaxed(rotated(spin, site.flip), site.te, tissue, tissue.t2_star)
        echo = math.hypot(spin[0], spin[1])
        spin = relaxed(spin * (0, 0, 1), site.tr - site.te, tissue, tissue.t2)  # spoiled: nothing transverse is left
    return echo


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
@pytest.mark.parametrize("tissue", TISSUES.values(), ids=TISSUES)
def test_a_signal_is_that_of_a_spin_followed_through_its_pulses(tissue: Tissue, site: Site) -> None:
    # Both gradient echoes relax for TE after the pulse: the steady state of the longitudinal part is the same.
    assert signal(tissue, site) == pytest.approx(followed(tissue, site), rel=1e-9)


def test_signals_have_the_limits_of_the_textbook() -> None:
    tissue, slow = TISSUES["grey matter"], Site("spin", 1e6, 1e-6, 90, 0, 0, 0)
    assert signal(tissue, slow) == pytest.approx(tissue.density)
    angle = math.degrees(math.acos(math.exp(-20 / tissue.t1)))  # Ernst's: the largest signal
    at = [signal(tissue, Site("spoiled gradient", 20, 5, angle + off, 0, 0, 0)) for off in (-1, 0, 1)]
    assert at[1] > max(at[0], at[2])
    assert signal(tissue, SITES["siteD"]._replace(te=200)) / signal(tissue, SITES["siteD"]._replace(te=117)) == (
        pytest.approx(math.exp(-1), rel=0.02)  # one T2 of 83 ms later; TR is not quite long
    )


def test_the_order_of_tissues_is_that_of_each_weighting() -> None:
    for name, site in SITES.items():
        fluid, grey, white = (signal(tissue, site) for tissue in TISSUES.values())
        assert (fluid > grey > white) if name == "siteD" else (white > grey > fluid)


def test_the_sites_are_those_that_were_fixed_before_any_method_ran() -> None:
    assert {name: tuple(site) for name, site in SITES.items()} == {
        "siteA": ("spoiled gradient", 18, 10, 30, 0.1, 0.03, 2.0),
        "siteB": ("spoiled gradient", 25, 5, 12, 0.4, 0.04, 3.0),
        "siteC": ("spin", 600, 15, 90, 0.2, 0.03, 3.0),
        "siteD": ("spin", 3300, 100, 90, 0.2, 0.04, 3.0),
    }
    assert {name: tuple(tissue) for name, tissue in TISSUES.items()} == {
        "fluid": (2569, 329, 58, 1.0),
        "grey matter": (833, 83, 69, 0.86),
        "white matter": (500, 70, 61, 0.77),
    }


@pytest.mark.parametrize("height", [0.0, 1.0, 5.0])
def test_rician_noise_has_scipys_mean_and_deviation(height: float) -> None:
    got = rician(np.full(200_000, 40 * height, np.float32), 40.0, np.random.default_rng(0))
    known = stats.rice(height, scale=40)
    assert got.mean() == pytest.approx(known.mean(), rel=5e-3)
    assert got.std() == pytest.approx(known.std(), rel=1e-2)
    if height == 0:
        assert abs(got.mean() - 0) > 40  # not Gaussian noise around nothing


def test_a_bias_field_spans_what_was_asked_within_the_brain_and_is_smooth() -> None:
    inside = np.zeros((30, 34, 32), bool)
    inside[4:26, 4:30, 4:28] = True
    field = bias_field(inside, 0.4, 6.0, np.random.default_rng(0))
    assert field[inside].min() == pytest.approx(0.8)
    assert field[inside].max() == pytest.approx(1.2)
    assert field.min() >= 0
    assert np.abs(np.diff(field, axis=0)).max() < 0.1
    assert bias_field(inside, 0, 6.0, np.random.default_rng(0))[inside].std() == 0


def test_an_acquisition_of_one_tissue_is_its_signal_blurred_and_noisy() -> None:
    block = np.zeros((24, 24, 24), np.float32)
    block[6:18, 6:18, 6:18] = 1
    none = np.zeros_like(block)
    plain = SITES["siteA"]._replace(bias=0.0, noise=0.0, blur=0.0)
    clean = acquire((none, none, block), plain, 5.0, np.random.default_rng(1)).astype(float)
    value = clean[12, 12, 12]
    assert value == pytest.approx(1000, rel=0.2)  # white matter is the brightest; each scan varies it a little
    assert set(np.unique(clean)) == {0.0, value}
    blurred = acquire((none, none, block), plain._replace(blur=10.0), 5.0, np.random.default_rng(1)).astype(float)
    expected = ndimage.gaussian_filter(clean, 10 / (2 * math.sqrt(2 * math.log(2))) / 5)
    assert np.abs(blurred - expected).max() < 2
    noisy = acquire((none, none, block), plain._replace(noise=0.05), 5.0, np.random.default_rng(1)).astype(float)
    assert noisy[:4].mean() == pytest.approx(50 * math.sqrt(math.pi / 2), rel=0.03)  # Rayleigh where there is air
    biased = acquire((none, none, block), plain._replace(bias=0.4), 5.0, np.random.default_rng(1)).astype(float)
    ratio = (biased / np.maximum(clean, 1))[block > 0]
    assert ratio.min() == pytest.approx(0.8, abs=0.01)
    assert ratio.max() == pytest.approx(1.2, abs=0.01)
    assert BIAS_MM / 5.0 == 9


def test_partial_volumes_mix_their_tissues_signals() -> None:
    half = np.full((8, 8, 8), 0.5, np.float32)
    none, plain = np.zeros_like(half), SITES["siteC"]._replace(bias=0.0, noise=0.0, blur=0.0)

    def value(*shares: np.ndarray) -> float:
        return float(acquire(shares, plain, 3.0, np.random.default_rng(2))[4, 4, 4])

    grey, white = value(none, 2 * half, none), value(none, none, 2 * half)
    assert value(none, half, half) == pytest.approx((grey + white) / 2, abs=1)
