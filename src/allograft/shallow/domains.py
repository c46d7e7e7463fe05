"""Two domains: what every estimator here is fitted on, and the two things that it may give.

A weighter says how much each source sample counts, a mapper moves both domains into one space. Both are
scikit-learn estimators whose `fit` takes the samples of the source and of the target; nothing reads labels.

    weights = KMM().fit(source, target).weights_                     # a Weighter
    LogisticRegression().fit(source, labels, sample_weight=weights)

    mapper = CORAL().fit(source, target)                             # a Mapper
    model = LogisticRegression().fit(mapper.transform_source(source), labels)
    model.predict(mapper.transform_target(new))
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array

from allograft.core.errors import DataError

__all__ = [
    "Affine",
    "Array",
    "LinearMapper",
    "Mapper",
    "Weighter",
    "effective_sample_size",
    "samples",
    "two_domains",
]

Array = npt.NDArray[np.float64]


@runtime_checkable
class Weighter(Protocol):
    """An estimator of weights under which the source looks like the target."""

    weights_: Array

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Set `weights_` (n_s,), >= 0, from samples (n_s, d) and (n_t, d)."""


@runtime_checkable
class Mapper(Protocol):
    """An estimator of maps into one space in which the domains are alike."""

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Find the maps from samples (n_s, d) and (n_t, d)."""

    def transform_source(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of source samples (n, d)."""

    def transform_target(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of target samples (n, d)."""


class Affine(NamedTuple):
    """x @ matrix + shift: matrix (d, k), shift (k,)."""

    matrix: Array
    shift: Array

    def __call__(self, x: Array) -> Array:
        """Return (n, k) for (n, d)."""
        return np.asarray(x @ self.matrix + self.shift)


@runtime_checkable
class LinearMapper(Mapper, Protocol):
    """A mapper whose maps are affine, so that a linear classifier behind them is one of the samples themselves."""

    source_map_: Affine
    target_map_: Affine


def two_domains(estimator: Any, source: npt.ArrayLike, target: npt.ArrayLike, *, least: int = 1) -> tuple[Array, Array]:
    """Check the samples of both domains and note their width in `estimator.n_features_in_`.

    Args:
        estimator: who asks.
        source: (n_s, d), finite.
        target: (n_t, d), finite.
        least: samples that each domain must have.

    Raises:
        ValueError: not numbers, not finite or not (n, d); scikit-learn's own check says which.
        DataError: the domains differ in width.
    """
    how: dict[str, Any] = {"dtype": np.float64, "ensure_min_samples": least, "estimator": estimator}
    a = np.asarray(check_array(source, input_name="source", **how))
    b = np.asarray(check_array(target, input_name="target", **how))
    if a.shape[1] != b.shape[1]:
        who = type(estimator).__name__
        msg = f"{who}: the source has {a.shape[1]} features, the target {b.shape[1]}. Give the same features of both."
        raise DataError(msg)
    estimator.n_features_in_ = a.shape[1]
    return a, b


def samples(estimator: Any, x: npt.ArrayLike) -> Array:
    """Check further samples (n, d) for a fitted estimator.

    Raises:
        ValueError: not numbers, or not finite.
        DataError: another width than those that it was fitted on.
    """
    found = np.asarray(check_array(x, dtype=np.float64, estimator=estimator))
    if found.shape[1] != estimator.n_features_in_:
        who, known = type(estimator).__name__, estimator.n_features_in_
        msg = f"{who}: fitted on {known} features, got samples of {found.shape[1]}. Give the same features."
        raise DataError(msg)
    return found


def effective_sample_size(weights: npt.ArrayLike) -> float:
    """Return (sum w)^2 / sum w^2: how many equally weighted samples are worth these (Kish 1965); 0 for no weight.

    >>> effective_sample_size([1, 1, 1, 1]), effective_sample_size([3, 0, 0, 0])
    (4.0, 1.0)
    """
    w = np.asarray(weights, dtype=np.float64)
    squares = float(np.square(w).sum())
    return float(w.sum()) ** 2 / squares if squares else 0.0
