"""The estimators of two domains keep scikit-learn's conventions, where these are not about labels."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

from allograft.core.errors import DataError
from allograft.shallow.coral import CORAL
from allograft.shallow.discriminative_ratio import DiscriminativeRatio
from allograft.shallow.domains import LinearMapper, Mapper, Weighter, effective_sample_size
from allograft.shallow.kernels import median_gamma, mmd_squared
from allograft.shallow.kliep import KLIEP
from allograft.shallow.kmm import KMM
from allograft.shallow.subspace_alignment import SubspaceAlignment
from allograft.shallow.tca import TCA
from toy_domains import SOURCE, TARGET

WEIGHTERS = [KMM(), KLIEP(), DiscriminativeRatio()]
MAPPERS = [TCA(2), SubspaceAlignment(2), CORAL()]
BOTH = [*WEIGHTERS, *MAPPERS]
CHECKS = [
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_mixin_order,
]
"""Those of `check_estimator` that do not call fit(X, y) with labels y: here the second argument is the target."""


def named(value: Any) -> str:
    return type(value).__name__ if hasattr(value, "get_params") else value.__name__


@pytest.mark.parametrize("estimator", BOTH, ids=named)
@pytest.mark.parametrize("check", CHECKS, ids=named)
def test_scikit_learns_own_checks(check: Any, estimator: Any) -> None:
    check(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", BOTH, ids=named)
def test_fitting_is_repeatable_leaves_data_and_settings_and_survives_pickling(estimator: Any) -> None:
    source, target = SOURCE.copy(), TARGET.copy()
    settings = estimator.get_params()
    one, two = (clone(estimator).fit(source, target) for _ in range(2))
    assert one.get_params() == settings
    assert np.array_equal(source, SOURCE)
    assert np.array_equal(target, TARGET)
    assert one.n_features_in_ == 3
    read = pickle.loads(pickle.dumps(one))
    for other in (two, read):
        if hasattr(one, "weights_"):
            assert np.array_equal(one.weights_, other.weights_)
        else:
            assert np.array_equal(one.transform_source(SOURCE), other.transform_source(SOURCE))


@pytest.mark.parametrize("estimator", BOTH, ids=named)
def test_samples_that_cannot_be_used_are_refused(estimator: Any) -> None:
    holed = SOURCE.copy()
    holed[3, 1] = np.nan
    for source, target in ((holed, TARGET), (SOURCE, TARGET * np.inf), (SOURCE[:0], TARGET), (SOURCE[:, 0], TARGET)):
        with pytest.raises(ValueError, match=r"NaN|infinity|minimum|1D"):
            clone(estimator).fit(source, target)
    with pytest.raises(DataError, match="the source has 3 features, the target 2"):
        clone(estimator).fit(SOURCE, TARGET[:, :2])


@pytest.mark.parametrize("estimator", MAPPERS, ids=named)
def test_mappers_refuse_samples_of_another_width(estimator: Any) -> None:
    found = clone(estimator).fit(SOURCE, TARGET)
    with pytest.raises(DataError, match="fitted on 3 features"):
        found.transform_target(TARGET[:, :2])


def test_the_protocols_tell_them_apart() -> None:
    assert all(isinstance(clone(each).fit(SOURCE, TARGET), Weighter) for each in WEIGHTERS)
    assert all(isinstance(each, Mapper) for each in MAPPERS)
    linear = [isinstance(clone(each).fit(SOURCE, TARGET), LinearMapper) for each in MAPPERS]
    assert linear == [False, True, True]


def test_the_distance_of_means_has_the_worked_value_and_weights_count() -> None:
    assert mmd_squared(SOURCE, TARGET, 0.5) == pytest.approx(0.283358790253, abs=1e-11)
    doubled = mmd_squared(np.concatenate([SOURCE, SOURCE[:1]]), TARGET, 0.5)
    assert mmd_squared(SOURCE, TARGET, 0.5, [2, *[1] * 11]) == pytest.approx(doubled)
    assert mmd_squared(SOURCE, SOURCE, 0.5) == pytest.approx(0, abs=1e-12)
    many = np.random.default_rng(0).normal(size=(300, 2))
    assert mmd_squared(many, many[::-1] + 1, 0.5, most=100) == pytest.approx(mmd_squared(many, many + 1, 0.5), rel=0.3)


def test_the_width_follows_the_scale_and_copies_do_not_break_it() -> None:
    assert median_gamma(10 * SOURCE) == pytest.approx(median_gamma(SOURCE) / 100)
    assert median_gamma(np.zeros((5, 2))) == 1.0
    assert 0 < median_gamma(np.array([[0.0]] * 9 + [[1.0]])) < np.inf


def test_the_effective_sample_size_is_between_one_and_all() -> None:
    assert effective_sample_size(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_sample_size([0, 5, 0]) == 1
    assert effective_sample_size([0, 0]) == 0
