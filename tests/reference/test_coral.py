"""CORAL: worked values, SciPy's matrix roots, covariances that agree, POT's map of Gaussians, limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import inv, sqrtm

from allograft.core.errors import ConfigError
from allograft.procedures.coral import CORALTransfer
from allograft.shallow.coral import CORAL
from toy_domains import SOURCE, TARGET


def test_worked_values_of_the_toy_domains() -> None:
    moved = CORAL(shrink=1e-5).fit(SOURCE, TARGET).transform_source(SOURCE)
    assert moved[0] == pytest.approx((-0.671341, -2.176323, 1.196695), abs=1e-6)
    assert np.cov(moved.T) == pytest.approx(np.cov(TARGET.T), abs=3e-4)


@pytest.mark.parametrize("shrink", [1e-5, 0.3, 1.0])
def test_scipys_matrix_roots_give_the_same(shrink: float) -> None:
    cs, ct = (np.cov(x.T) + shrink * np.eye(3) for x in (SOURCE, TARGET))
    expected = SOURCE @ inv(sqrtm(cs)).real @ sqrtm(ct).real
    assert CORAL(shrink).fit(SOURCE, TARGET).transform_source(SOURCE) == pytest.approx(expected, abs=1e-9)


def test_without_shrinkage_covariances_agree_and_with_centring_means_too() -> None:
    found = CORAL(0.0, centre=True).fit(SOURCE, TARGET)
    moved = found.transform_source(SOURCE)
    assert np.cov(moved.T) == pytest.approx(np.cov(TARGET.T), abs=1e-10)
    assert moved.mean(0) == pytest.approx(TARGET.mean(0))
    assert np.array_equal(found.transform_target(TARGET), TARGET)


def test_equal_domains_stay_as_they_are_and_much_shrinkage_changes_nothing() -> None:
    assert CORAL(0.5).fit(SOURCE, SOURCE).transform_source(SOURCE) == pytest.approx(SOURCE)
    assert CORAL(1e9).fit(SOURCE, TARGET).transform_source(SOURCE) == pytest.approx(SOURCE, abs=1e-6)


def test_pots_map_of_gaussians_agrees_where_covariances_commute() -> None:
    """The optimal map is another one in general; for diagonal covariances both scale each feature."""
    linear = pytest.importorskip("ot.gaussian", reason="POT is not installed")
    rng = np.random.default_rng(0)
    whiten = np.linalg.qr(rng.normal(size=(200, 3)) - 0)[0]
    whiten -= whiten.mean(0)
    whiten = whiten @ np.linalg.inv(np.linalg.cholesky(np.cov(whiten.T)).T)
    source, target = whiten * (1.0, 2.0, 3.0), whiten * (2.0, 0.5, 1.0) + 4
    matrix, shift = linear.empirical_bures_wasserstein_mapping(source, target, reg=0)
    found = CORAL(0.0, centre=True).fit(source, target).transform_source(source)
    assert found == pytest.approx(source @ np.asarray(matrix) + np.asarray(shift), abs=1e-6)


def test_a_direction_without_variance_needs_shrinkage() -> None:
    flat = SOURCE * (1, 1, 0)
    with pytest.raises(ConfigError, match="cannot be whitened"):
        CORAL(0.0).fit(flat, TARGET)
    assert np.isfinite(CORAL(0.1).fit(flat, TARGET).transform_source(flat)).all()
    with pytest.raises(ConfigError, match="shrink -1"):
        CORAL(-1.0).fit(SOURCE, TARGET)


def test_the_procedure_shrinks_like_the_estimator() -> None:
    assert CORALTransfer().shrink == CORAL().shrink == 1.0
