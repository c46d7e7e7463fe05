"""Discriminative ratio: weights from a classifier that tells target from source.

Idea      Where a classifier takes a source sample for a target one, the target is denser: its odds are the ratio of the
          densities, up to the sizes of the samples.
Paper     Bickel, Brueckner, Scheffer. Discriminative learning for differing training and test distributions. ICML 2007.
Formula   w(x) = p(target | x) / p(source | x) * n_s / n_t
Differs   The classifier is a logistic regression fitted before the task's own and not together with it. By default a
          sample's weight comes from a fit without it, and the penalty from cross-validation (ours): where features are
          many, a classifier separates what it was fitted on, and the weights say nothing.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from allograft.shallow.domains import Array, samples, two_domains

__all__ = ["DiscriminativeRatio"]

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths that cross-validation chooses from (ours)."""


class DiscriminativeRatio(BaseEstimator):  # type: ignore[misc]
    """Density ratio by logistic regression.

    Args:
        strength: C of the logistic regression, > 0; None lets cross-validation choose from 1e-4 to 10 by log loss.
        folds: parts of the cross-validation, from which the weights come too; 0 weighs by one fit of all samples, which
            needs a strength. Fewer where a domain has fewer samples.
        bound: largest weight, > 0; None for no bound.
        random_state: of the folds.

    Attributes:
        weights_: (n_s,), >= 0, of mean about 1.
        strength_: the C that was used.
        scores_: mean log loss of left-out samples by strength; empty where none was chosen.
        model_: the logistic regression fitted on all samples.

    >>> import numpy as np
    >>> x = np.linspace(0, 1, 10)[:, None]
    >>> DiscriminativeRatio(strength=1.0, folds=0).fit(x, x).weights_.round(3)
    array([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """

    def __init__(
        self, strength: float | None = None, *, folds: int = 5, bound: float | None = None, random_state: int = 0
    ) -> None:
        self.strength = strength
        self.folds = folds
        self.bound = bound
        self.random_state = random_state

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Weigh the source samples.

        Args:
            source: (n_s, d).
            target: (n_t, d).

        Raises:
            DataError: the domains differ in width.
            ValueError: folds = 0 without a strength.
        """
        xs, xt = two_domains(self, source, target, least=2 if self.folds else 1)
        if not self.folds and self.strength is None:
            msg = "DiscriminativeRatio: folds = 0 leaves nothing to choose the strength by. Give one."
            raise ValueError(msg)
        x, side = np.concatenate([xs, xt]), np.repeat([0, 1], [len(xs), len(xt)])
        self.ratio_of_sizes_ = len(xs) / len(xt)
        self.scores_: dict[float, float] = {}
        logits: Array | None = None
        if self.folds:
            grid = GRID if self.strength is None else (float(self.strength),)
            tried = {each: self._left_out(x, side, each) for each in grid}
            signs = 2.0 * side - 1
            self.scores_ = {each: float(np.logaddexp(0, -signs * found).mean()) for each, found in tried.items()}
            best = min(self.scores_, key=lambda each: self.scores_[each])
            logits, self.strength_ = tried[best], best
            self.scores_ = self.scores_ if self.strength is None else {}
        else:
            assert self.strength is not None, "checked above"
            self.strength_ = float(self.strength)
        self.model_ = _model(self.strength_).fit(x, side)
        self.weights_: Array = self.ratio(xs) if logits is None else self._weight(logits[: len(xs)])
        return self

    def ratio(self, x: npt.ArrayLike) -> Array:
        """Return w(x) (n,) of samples (n, d), by the fit of all samples."""
        return self._weight(np.asarray(self.model_.decision_function(samples(self, x))))

    def _weight(self, logits: Array) -> Array:
        weights = np.exp(np.minimum(logits, 500.0)) * self.ratio_of_sizes_
        return np.asarray(weights if self.bound is None else np.minimum(weights, self.bound))

    def _left_out(self, x: Array, side: npt.NDArray[np.int64], strength: float) -> Array:
        """Return the logit of each sample by a fit without it, corrected to the sizes of all."""
        found = np.zeros(len(x))
        count = min(self.folds, *np.bincount(side))
        for kept, out in StratifiedKFold(count, shuffle=True, random_state=self.random_state).split(x, side):
            found[out] = _model(strength).fit(x[kept], side[kept]).decision_function(x[out])
        return found


def _model(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
