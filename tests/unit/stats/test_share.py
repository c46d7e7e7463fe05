"""Shares of a gap: closed forms, a search over all shares, and coverage on synthetic units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from allograft.stats.bootstrap import ArmReplicates
from allograft.stats.share import Share, share_of_gap

Array = npt.NDArray[np.float64]


def draws(values: Array) -> ArmReplicates:
    """Return the replicates of arms (rows) from one value per unit (columns)."""
    n = values.shape[1]
    rest = (values.sum(1, keepdims=True) - values).T / max(1, n - 1)
    return ArmReplicates(observed=values.mean(1), boot=np.empty((0, len(values))), jackknife=rest)


def units(n: int, rng: np.random.Generator, share: float = 0.5, gap: float = 1.0) -> Array:
    """Return synthetic units of source-only, method and target-supervised."""
    centre = np.array([[0.0], [share], [1.0]]) * gap
    return centre + rng.normal(size=n) + 0.7 * rng.normal(size=(3, n))


def test_exactly_half_of_every_unit_is_exactly_half() -> None:
    lower, gap = np.array([0.2, 0.4, 0.3, 0.5, 0.1, 0.2]), np.array([0.1, 0.3, 0.2, 0.4, 0.2, 0.3])
    found = share_of_gap(draws(np.stack([lower, lower + gap / 2, lower + gap])), 1, 0, 2)
    assert found is not None
    assert found == pytest.approx((0.5, 0.5, 0.5), abs=1e-7)


def test_a_method_that_loses_has_a_share_below_0() -> None:
    rng = np.random.default_rng(0)
    found = share_of_gap(draws(units(30, rng, share=-1.0, gap=2.0)), 1, 0, 2)
    assert found is not None
    assert found.high < 0


def test_the_interval_is_every_share_that_a_paired_t_test_lets_stand() -> None:
    values = units(14, np.random.default_rng(3))
    found = share_of_gap(draws(values), 1, 0, 2)
    assert found is not None
    tried = np.linspace(found.low - 1, found.high + 1, 4001)
    p = np.array([stats.ttest_1samp((values[1] - values[0]) - r * (values[2] - values[0]), 0).pvalue for r in tried])
    kept = tried[p >= 0.05]
    assert (kept.min(), kept.max()) == pytest.approx((found.low, found.high), abs=2e-3)
    assert found.value == pytest.approx((values[1] - values[0]).mean() / (values[2] - values[0]).mean())


def test_no_share_is_given_where_the_gap_is_not_shown_to_differ_from_0() -> None:
    for seed in range(40):
        values = units(8, np.random.default_rng(seed), gap=0.8)
        shown = stats.ttest_rel(values[2], values[0]).pvalue < 0.05
        assert (share_of_gap(draws(values), 1, 0, 2) is not None) == shown


def test_equal_units_give_a_share_without_an_interval() -> None:
    values = np.repeat([[0.2], [0.3], [0.6]], 8, axis=1)
    found = share_of_gap(draws(values), 1, 0, 2)
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert np.isnan([found.low, found.high]).all()


def test_a_unit_that_cannot_be_left_out_gives_no_share() -> None:
    found = draws(units(8, np.random.default_rng(0), gap=4.0))
    found.jackknife[3, 1] = np.nan
    assert share_of_gap(found, 1, 0, 2) is None
    assert share_of_gap(draws(units(1, np.random.default_rng(0))), 1, 0, 2) is None


def test_the_interval_holds_its_level_on_synthetic_units_and_a_bootstrap_of_the_ratio_does_not() -> None:
    rng = np.random.default_rng(0)
    held: dict[str, list[bool]] = {"fieller": [], "bootstrap": []}
    for _ in range(400):
        values = units(8, rng, gap=2.0)
        found = share_of_gap(draws(values), 1, 0, 2)
        if found is None:
            continue
        held["fieller"].append(_inside(found))
        gain, gap = values[1] - values[0], values[2] - values[0]
        drawn = rng.integers(0, 8, (400, 8))
        held["bootstrap"].append(
            _inside(Share(0, *np.quantile(gain[drawn].mean(1) / gap[drawn].mean(1), [0.025, 0.975])))
        )
    assert len(held["fieller"]) > 390
    assert np.mean(held["fieller"]) == pytest.approx(0.95, abs=0.025)
    assert np.mean(held["bootstrap"]) < 0.92


def _inside(share: Share) -> bool:
    return bool(share.low <= 0.5 <= share.high)
