"""KMM: worked values, SciPy's SLSQP on the same quadratic programme, limits, and what the weights do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from allograft.core.errors import ConfigError
from allograft.procedures.kmm import KMMTransfer
from allograft.shallow.kernels import mmd_squared
from allograft.shallow.kmm import KMM
from toy_domains import SOURCE, TARGET, plain_rbf


def gaussians(n: int, d: int, *, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n // 2, d)) + shift


def test_worked_values_of_the_toy_domains() -> None:
    assert SOURCE[0] == pytest.approx((0.041581, -0.883455, 0.850437), abs=1e-6)
    assert TARGET[0] == pytest.approx((1.794814, -0.026175, -0.973679), abs=1e-6)
    found = KMM(0.5, bound=5.0, tol=1e-13).fit(SOURCE, TARGET)
    expected = (0.218379, 1.240953, 0, 0.777983, 1.790507, 0, 0, 0, 0, 0, 1.910014, 0)
    assert found.weights_ == pytest.approx(expected, abs=1e-5)
    assert found.objective_ == pytest.approx(-7.79829455, abs=1e-8)
    assert found.weights_.sum() == pytest.approx(5.937836, abs=1e-5)


@pytest.mark.parametrize(("bound", "epsilon"), [(5.0, 0.1), (1.2, 0.05), (1000.0, 0.0), (3.0, 2.0)])
def test_slsqp_finds_no_lower_objective(bound: float, epsilon: float) -> None:
    source, target = gaussians(40, 3, shift=0.6, seed=1)
    n, kernel = len(source), plain_rbf(source, source, 0.4)
    kappa = n / len(target) * plain_rbf(source, target, 0.4).sum(1)

    def value(w: np.ndarray) -> float:
        return float(0.5 * w @ kernel @ w - kappa @ w)

    band = [
        {"type": "ineq", "fun": lambda w: w.sum() - n * (1 - epsilon)},
        {"type": "ineq", "fun": lambda w: n * (1 + epsilon) - w.sum()},
    ]
    slsqp = minimize(
        value,
        np.ones(n),
        jac=lambda w: kernel @ w - kappa,
        bounds=[(0, bound)] * n,
        constraints=band,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 2000},
    )
    found = KMM(0.4, bound=bound, epsilon=epsilon, tol=1e-8).fit(source, target)
    assert found.objective_ == pytest.approx(slsqp.fun, rel=1e-5)
    assert found.objective_ - found.gap_ <= slsqp.fun + 1e-6
    assert ((found.weights_ >= 0) & (found.weights_ <= bound)).all()
    assert n * (1 - epsilon) - 1e-6 <= found.weights_.sum() <= n * (1 + epsilon) + 1e-6


def test_equal_domains_give_equal_weights() -> None:
    found = KMM(0.5, tol=1e-12).fit(SOURCE, SOURCE)
    assert found.weights_ == pytest.approx(np.ones(12), abs=1e-3)


def test_weights_move_the_kernel_mean_and_the_mean_to_the_target() -> None:
    source, target = gaussians(300, 2, shift=0.8, seed=2)
    found = KMM(bound=20.0).fit(source, target)
    plain = mmd_squared(source, target, found.gamma_)
    assert mmd_squared(source, target, found.gamma_, found.weights_) < 0.05 * plain
    assert np.average(source, axis=0, weights=found.weights_) == pytest.approx(target.mean(0), abs=0.2)


def test_blocks_in_little_memory_give_the_same_weights() -> None:
    source, target = gaussians(60, 4, shift=0.3, seed=3)
    held, blocks = (KMM(0.2, memory=m, tol=1e-4).fit(source, target) for m in (512.0, 0.01))
    assert blocks.weights_ == pytest.approx(held.weights_, abs=1e-6)


def test_random_features_state_their_error_and_come_near() -> None:
    source, target = gaussians(200, 2, shift=0.5, seed=4)
    exact, near = (KMM(0.3, features=m).fit(source, target) for m in (0, 2000))
    assert exact.kernel_error_ == 0
    assert 0 < near.kernel_error_ < 0.15
    assert KMM(0.3, features=20).fit(source, target).kernel_error_ > near.kernel_error_
    after = mmd_squared(source, target, 0.3, near.weights_)
    assert after < 0.1 * mmd_squared(source, target, 0.3)


def test_what_cannot_be_is_refused_and_what_is_left_is_said() -> None:
    with pytest.raises(ConfigError, match="cannot have a mean"):
        KMM(bound=0.5, epsilon=0.1).fit(SOURCE, TARGET)
    with pytest.warns(ConvergenceWarning, match="above its minimum"):
        KMM(0.5, bound=5.0, tol=1e-12, max_iter=2).fit(SOURCE, TARGET)


def test_the_procedure_has_the_papers_defaults() -> None:
    own, estimator = KMMTransfer(), KMM()
    assert (own.bound, own.epsilon) == (estimator.bound, estimator.epsilon) == (1000, None)
