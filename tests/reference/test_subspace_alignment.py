"""Subspace alignment: worked angles and distance, SciPy's angles, signs of axes, and a rotation that is undone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from allograft.core.errors import ConfigError
from allograft.procedures.subspace_alignment import SubspaceTransfer
from allograft.shallow.subspace_alignment import SubspaceAlignment
from toy_domains import SOURCE, TARGET


def test_worked_values_of_the_toy_domains() -> None:
    found = SubspaceAlignment(2).fit(SOURCE, TARGET)
    assert found.cosines_ == pytest.approx((1.0, 0.90983), abs=1e-5)
    assert found.distance_**2 == pytest.approx(0.172209, abs=1e-6)


def test_bases_angles_and_maps_are_those_of_scikit_learn_and_scipy() -> None:
    found = SubspaceAlignment(2).fit(SOURCE, TARGET)
    ps, pt = (PCA(2).fit(x).components_.T for x in (SOURCE, TARGET))
    assert np.abs(np.sum(found.source_basis_ * ps, axis=0)) == pytest.approx((1, 1))
    assert np.sort(found.cosines_) == pytest.approx(np.sort(np.cos(subspace_angles(ps, pt))))
    turned = (SOURCE - SOURCE.mean(0)) @ ps @ (ps.T @ found.target_basis_)  # with scikit-learn's own signs in Ps
    assert found.transform_source(SOURCE) == pytest.approx(turned)
    assert found.transform_target(TARGET) == pytest.approx((TARGET - TARGET.mean(0)) @ found.target_basis_)


def test_the_alignment_is_the_best_of_all_linear_maps_whatever_the_signs() -> None:
    found = SubspaceAlignment(2).fit(SOURCE, TARGET)
    ps, pt = found.source_basis_, found.target_basis_
    best = np.linalg.lstsq(ps, pt, rcond=None)[0]
    assert found.alignment_ == pytest.approx(best)
    for signs in ((-1, 1), (1, -1), (-1, -1)):
        flipped = ps * signs
        assert np.linalg.norm(flipped @ (flipped.T @ pt) - pt) == pytest.approx(found.distance_)


def test_equal_domains_are_not_turned_and_a_turned_one_is_turned_back() -> None:
    same = SubspaceAlignment(2).fit(SOURCE, SOURCE)
    assert same.distance_ == pytest.approx(0, abs=1e-12)
    assert same.transform_source(SOURCE) == pytest.approx(same.transform_target(SOURCE))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) * (3.0, 1.0, 0.1)
    turn = np.array([[np.cos(0.3), np.sin(0.3), 0], [-np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    y = x @ turn + 5
    found = SubspaceAlignment(1).fit(x, y)
    a, b = found.transform_source(x)[:, 0], found.transform_target(y)[:, 0]
    assert abs(np.corrcoef(a, b)[0, 1]) == pytest.approx(1, abs=1e-6)
    assert abs(b.mean()) < 1e-9
    assert (found.cosines_ < 0.99).all(), "there was something to turn"


def test_a_share_of_variance_is_held_in_both_domains() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(50, 4)) * (10, 1, 1, 1), rng.normal(size=(50, 4)) * (3, 3, 3, 0.1)
    found = SubspaceAlignment(0.9).fit(one, two)
    held = [PCA(found.components_).fit(x).explained_variance_ratio_.sum() for x in (one, two)]
    fewer = [PCA(found.components_ - 1).fit(x).explained_variance_ratio_.sum() for x in (one, two)]
    assert min(held) >= 0.9 > min(fewer)
    assert SubspaceAlignment(0.999).fit(SOURCE[:2], TARGET).components_ == 1, "two samples span one direction"


@pytest.mark.parametrize("components", [0, 4, 1.5])
def test_components_that_cannot_be_are_refused(components: float) -> None:
    with pytest.raises(ConfigError, match="span 3 dimensions"):
        SubspaceAlignment(components).fit(SOURCE, TARGET)
    with pytest.raises(ConfigError, match="all samples of a domain are alike"):
        SubspaceAlignment(1).fit(np.ones((5, 3)), TARGET)


def test_the_procedure_has_the_estimators_default() -> None:
    assert SubspaceTransfer().components == SubspaceAlignment().components
