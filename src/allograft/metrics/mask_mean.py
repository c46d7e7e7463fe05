"""MaskMean: a segmentation metric as studies judge it: per case, the mean over its classes or regions."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from allograft.core.errors import ConfigError
from allograft.data.mask_scores import MaskScores
from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, Metric, check_kind, mean_of_cases
from allograft.metrics.segmentation.metric import MaskMetric
from allograft.metrics.segmentation.summary import settle_skipped

__all__ = ["mask_mean", "settled"]


def mask_mean(metric: MaskMetric) -> Metric:
    """Return a mask metric as a metric of predictions; a protocol cannot say that its facts are instance attributes."""
    return cast("Metric", MaskMean(metric))


class MaskMean:
    """Mean over cases of the mean over the classes that a case holds or was given.

    Args:
        metric: of one class of one case; a miss and a false alarm count as its worst value.
    """

    kinds = frozenset({"segmentation"})

    def __init__(self, metric: MaskMetric) -> None:
        self.metric = metric
        self.name, self.title = metric.name, metric.title
        self.larger_is_better, self.margin = metric.larger_is_better, metric.margin
        self.low, self.high = metric.low, metric.high

    def value(self, p: Predictions) -> float:
        """Return the mean over cases that have a value, NaN where none has."""
        return mean_of_cases(self.cases(p))

    def cases(self, p: Predictions) -> Array:
        """Return (N,) means over classes, NaN where a case has no mask or holds nothing."""
        return self._scores(p).cases(self.name)

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return the mean of each class over the cases that have a value for it."""
        scores = self._scores(p)
        return {name: mean_of_cases(scores.values[self.name][:, i]) for i, name in enumerate(scores.classes)}

    def _scores(self, p: Predictions) -> MaskScores:
        check_kind(cast("Metric", self), p)
        if p.masks is None or self.name not in p.masks.values:
            msg = f"metric {self.name!r}: these predictions were not scored by it. Predict the cases again."
            raise ConfigError(msg)
        return p.masks


def settled(runs: list[Predictions], metric: Metric) -> list[Predictions]:
    """Return the predictions of several arms and seeds on the same cases, fit for pairing by a metric.

    Where one run rightly predicts nothing in a case that another is scored in, it gets the best value there
    (`settle_skipped`); without, a false alarm would take its case out of the comparison. Other metrics than
    those of masks change nothing.
    """
    if not isinstance(metric, MaskMean):
        return runs
    values = settle_skipped(np.stack([metric.cases(run) for run in runs]), metric.metric)
    return [
        replace(run, masks=replace(run.masks, settled={metric.name: row})) if run.masks else run
        for run, row in zip(runs, values, strict=True)
    ]
