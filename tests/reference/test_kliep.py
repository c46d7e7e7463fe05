"""KLIEP: worked values, SciPy's SLSQP, the choice of the width, limits, and a ratio that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from allograft.core.errors import NumericsError
from allograft.procedures.kliep import KLIEPTransfer
from allograft.shallow.kliep import KLIEP
from toy_domains import SOURCE, TARGET, plain_rbf


def test_worked_values_of_the_toy_domains() -> None:
    found = KLIEP(0.5).fit(SOURCE, TARGET)
    expected = (0.772681, 1.547503, 0.566517, 1.414314, 1.752436, 0.787052)
    expected += (1.113931, 0.393275, 0.511724, 1.224201, 0.796046, 1.120321)
    assert found.weights_ == pytest.approx(expected, abs=2e-6)
    assert found.objective_ == pytest.approx(0.5968404850, abs=1e-9)
    assert found.weights_.mean() == pytest.approx(1)


@pytest.mark.parametrize("gamma", [0.05, 0.5, 4.0])
def test_slsqp_finds_no_higher_likelihood(gamma: float) -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(60, 2)), 0.7 * rng.normal(size=(25, 2)) + 0.5
    near, means = plain_rbf(target, target, gamma), plain_rbf(source, target, gamma).mean(0)
    slsqp = minimize(
        lambda a: -np.log(near @ a).mean(),
        np.full(25, 1 / means.sum()),
        jac=lambda a: -(near / (near @ a)[:, None]).mean(0),
        bounds=[(0, None)] * 25,
        constraints=[{"type": "eq", "fun": lambda a: means @ a - 1}],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    found = KLIEP(gamma).fit(source, target)
    assert found.objective_ >= -slsqp.fun - 1e-7
    assert found.objective_ == pytest.approx(-slsqp.fun, abs=1e-4)
    assert found.gap_ < 1e-8


def test_equal_domains_give_weights_near_one_and_no_gain() -> None:
    x = np.random.default_rng(1).normal(size=(200, 2))
    found = KLIEP().fit(x, x)
    assert found.weights_ == pytest.approx(np.ones(200), abs=0.3)
    assert abs(max(found.scores_.values())) < 0.05


def test_a_known_ratio_of_densities_is_found_at_new_points() -> None:
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(1500, 1)), 0.5 * rng.normal(size=(600, 1)) + 0.5
    found = KLIEP().fit(source, target)
    new = np.linspace(-1, 1.5, 26)[:, None]
    true = 2 * np.exp(0.5 * new[:, 0] ** 2 - 2 * (new[:, 0] - 0.5) ** 2)
    assert np.corrcoef(found.ratio(new), true)[0, 1] > 0.95
    assert np.abs(found.ratio(new) - true).mean() < 0.25 * true.mean()


def test_the_width_is_the_one_of_greatest_left_out_likelihood() -> None:
    rng = np.random.default_rng(3)
    source, target = rng.normal(size=(100, 2)), rng.normal(size=(60, 2)) + 0.7
    found = KLIEP((1e-6, 0.3, 1e4)).fit(source, target)
    assert set(found.scores_) == {1e-6, 0.3, 1e4}
    assert found.gamma_ == 0.3 == max(found.scores_, key=lambda gamma: found.scores_[gamma])
    assert KLIEP(0.3).fit(source, target).scores_ == {}


def test_centres_are_bounded_and_a_hopeless_width_is_an_error() -> None:
    target = np.random.default_rng(4).normal(size=(300, 2))
    assert KLIEP(0.5, centres=20).fit(target[:50], target).centres_.shape == (20, 2)
    with pytest.raises(NumericsError, match="no width"):
        KLIEP((1e9, 1e10)).fit(target[:50], target[50:])


def test_the_procedure_lets_the_target_choose_among_a_hundred_centres() -> None:
    assert (KLIEPTransfer().gamma, KLIEPTransfer().centres) == (None, 100) == (KLIEP().gamma, KLIEP().centres)
