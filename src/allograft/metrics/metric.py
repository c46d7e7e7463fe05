"""Metric: what every metric is, and the check that it fits the task."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from allograft.core.errors import ConfigError
from allograft.data.predictions import Predictions

__all__ = ["Metric", "check_kind", "mean_of_cases"]

Array = npt.NDArray[np.float64]


@runtime_checkable
class Metric(Protocol):
    """One number for a set of predictions, and one per case where the metric is a mean of cases.

    Where a metric is undefined it is NaN, never 0, 0.5 or 1.

    Args:
        name: name in study files and tables.
        title: name in sentences.
        larger_is_better: its direction.
        kinds: task kinds that it is defined for.
        low: smallest possible value.
        high: largest possible value.
        margin: differences within ± margin are taken not to matter (ours; a study may set its
            own), NaN where no number makes sense without knowing the unit.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    larger_is_better: ClassVar[bool]
    kinds: ClassVar[frozenset[str]]
    low: ClassVar[float]
    high: ClassVar[float]
    margin: ClassVar[float]

    def value(self, p: Predictions) -> float:
        """Return the metric of the set, NaN where undefined.

        Raises:
            ConfigError: the metric is not defined for this kind of task.
            NumericsError: a prediction is not finite.
        """

    def cases(self, p: Predictions) -> Array | None:
        """Return (N,) values whose mean is `value`, NaN where a case has no target; else None."""

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return one value per class, NaN where undefined; empty where classes make no sense."""


def check_kind(metric: Metric, p: Predictions) -> None:
    """Refuse a task that the metric is not defined for.

    Raises:
        ConfigError: names metric, task kind and the kinds that fit.
    """
    if p.task.kind not in metric.kinds:
        msg = (
            f"metric {metric.name!r} is not defined for a {p.task.kind} task; it fits "
            f"{', '.join(sorted(metric.kinds))}. Choose another metric."
        )
        raise ConfigError(msg)


def mean_of_cases(cases: Array) -> float:
    """Return the mean over cases that have a value, NaN where none has."""
    known = cases[~np.isnan(cases)]
    return float(known.mean()) if known.size else float("nan")
