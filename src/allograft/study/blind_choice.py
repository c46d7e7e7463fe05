"""Blind choice: what validation says of a network under a shift, where the target has no labels.

"entropy": minus the mean entropy of the predictions on the target's validation images; a network that is surely wrong
scores well too, which is its known weakness. "importance": deep embedded validation (You, Wang, Long, Jordan, ICML
2019): minus the source's validation loss with each case weighted by how much its features look like the target's, and
a control variate that keeps the variance of the weights out. Differs: the domain classifier of the weights is fitted on
the source's validation cases, where the paper fits it on training cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.functional.uncertainty import entropy_bits
from allograft.metrics.log_loss import LogLoss
from allograft.nets.network import Network
from allograft.shallow.discriminative_ratio import DiscriminativeRatio
from allograft.study.pool import Pool
from allograft.study.recipe import SelectBy
from allograft.train.device import Device

__all__ = ["BlindChoice", "embedded_risk"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BlindChoice:
    """A score of networks that reads no label of the target.

    Args:
        by: the rule, "entropy" or "importance".
        pool: the data set.
        device: of the arithmetic.
        blind: the target's validation images, without labels.
    """

    by: SelectBy
    pool: Pool
    device: Device
    blind: Cohort

    def __post_init__(self) -> None:
        """Check that the rule has something to go by.

        Raises:
            ConfigError: it has not.
        """
        if self.pool.task.kind == "regression":
            msg = f"select_by: {self.by} is for classes and masks; a regression has neither entropy nor log loss."
            raise ConfigError(msg)

    def score(self, net: Network, found: Predictions, val: Cohort) -> float:
        """Return what decides, larger is better.

        Args:
            net: the network.
            found: its predictions of the source's validation cases.
            val: those cases.
        """
        if self.by == "entropy":
            return -float(self.pool.doubt(net, self.blind, self.device, entropy_bits, passes=0, seed=0).mean())
        features = [self.pool.features(net, cohort, self.device, -1) for cohort in (val, self.blind)]
        weights = DiscriminativeRatio().fit(*(_scaled(each, features[0]) for each in features)).weights_
        losses = self._losses(found)
        if len(losses) != len(weights):
            msg = "select_by: importance weights single cases; score_by: group has no loss of them. Use metric."
            raise ConfigError(msg)
        known = np.isfinite(losses)
        return -embedded_risk(losses[known], weights[known])

    def _losses(self, found: Predictions) -> Array:
        """Return (N,) the loss of each case: log loss, or of a mask 1 - its score."""
        if found.masks is None:
            return LogLoss().cases(found)
        cases = self.pool.metric.cases(found)
        assert cases is not None, "a mask metric is a mean of cases"
        return 1.0 - cases


def embedded_risk(losses: Array, weights: Array) -> float:
    """Return the importance-weighted mean loss with its control variate.

    mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w). Weights that are all 1 give the plain mean.

    Args:
        losses: (N,) of source cases.
        weights: (N,) density ratios target to source, mean about 1.

    >>> embedded_risk(np.array([1.0, 2.0, 3.0]), np.ones(3))
    2.0
    """
    weighted = losses * weights
    spread = float(np.var(weights))
    eta = -float(np.cov(weighted, weights, bias=True)[0, 1]) / spread if spread > 0 else 0.0
    return float(weighted.mean() + eta * weights.mean() - eta)


def _scaled(features: npt.NDArray[np.float32], by: npt.NDArray[np.float32]) -> Array:
    """Return features in units of the spread that the source's have; constant ones stay 0."""
    spread = by.std(axis=0)
    scaled: Array = ((features - by.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float64)
    return scaled
