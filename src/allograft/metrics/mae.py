"""MAE: mean absolute error of a regression, in the target's own unit.

Logits are the predicted values; targets are values, NaN where absent (-1 is a value here).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from allograft.core.errors import DataError, NumericsError
from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, check_kind, mean_of_cases

__all__ = ["Mae"]


@dataclass(frozen=True)
class Mae:
    """Mean absolute error, >= 0, 0 is perfect; several outputs of a case are averaged."""

    name: ClassVar[str] = "mae"
    title: ClassVar[str] = "mean absolute error"
    larger_is_better: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = float("inf")
    margin: ClassVar[float] = float("nan")

    def value(self, p: Predictions) -> float:
        """Return the mean over cases that have a target, NaN where none has."""
        return mean_of_cases(self.cases(p))

    def cases(self, p: Predictions) -> Array:
        """Return (N,) absolute errors, NaN where a case has no target."""
        check_kind(self, p)
        error = np.abs(self._outputs(p) - self._truth(p))
        known = ~np.isnan(error)
        count = known.sum(axis=1)
        out = np.full(len(p), np.nan)
        out[count > 0] = np.where(known, error, 0.0).sum(axis=1)[count > 0] / count[count > 0]
        return out

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return the error of each output."""
        check_kind(self, p)
        error = np.abs(self._outputs(p) - self._truth(p))
        return {name: mean_of_cases(error[:, k]) for k, name in enumerate(p.task.classes)}

    def _outputs(self, p: Predictions) -> Array:
        outputs = np.asarray(p.logits, dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if bad.size:
            first = ", ".join(p.ids[i] for i in bad[:3])
            msg = f"{bad.size} of {len(p)} predictions are not finite, first cases: {first}. Look at them."
            raise NumericsError(msg)
        return outputs

    def _truth(self, p: Predictions) -> Array:
        truth = np.asarray(p.targets, dtype=np.float64).reshape(len(p), -1)
        if truth.shape != p.logits.shape:
            msg = f"regression targets have shape {truth.shape}, predictions {p.logits.shape}: they must be equal."
            raise DataError(msg)
        return truth
