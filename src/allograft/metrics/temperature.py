"""Temperature scaling: one number, found on validation, that makes probabilities honest.

Idea      Divide all logits by T > 0; ranking and decisions stay, confidence changes.
Paper     Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv:1706.04599
Formula   T = argmin mean NLL(softmax(z / T), y) over validation cases (sigmoid per label)
Defaults  T is looked for in [0.05, 20] (ours); at an end of it, `at_bound` says so.
Differs   none
Checked   tests/unit/metrics/test_temperature.py: brute force over a grid; a known T is found again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from allograft.core.errors import ConfigError, DataError
from allograft.data.predictions import Predictions
from allograft.metrics.log_loss import LogLoss

__all__ = ["Temperature", "fit_temperature"]

RANGE = (0.05, 20.0)
TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A fitted temperature.

    Args:
        value: T > 0; above 1 the network was too sure.
        before: log loss on validation at T = 1.
        after: log loss on validation at T.
        at_bound: the best T lies at an end of the range, as happens where validation is separated
            perfectly or is pure chance; do not trust it.
        cases: validation cases with a target.
    """

    value: float
    before: float
    after: float
    at_bound: bool
    cases: int

    def apply(self, p: Predictions) -> Predictions:
        """Return the predictions with scaled logits and the probabilities that follow.

        Raises:
            DataError: the probabilities do not follow from the logits (an average of several
                networks, say): scale each network before averaging.
        """
        _check(p)
        logits = (p.logits / np.float32(self.value)).astype(np.float32)
        return replace(p, logits=logits, probabilities=_probabilities(p, self.value))


def fit_temperature(p: Predictions) -> Temperature:
    """Find the temperature on validation predictions; never on test.

    Args:
        p: validation predictions of a binary, multi-class or multi-label task.

    Raises:
        ConfigError: the task has no probabilities.
        DataError: no case has a target, or the probabilities do not follow from the logits.
    """
    if p.task.kind not in LogLoss.kinds:
        msg = f"a {p.task.kind} task has no probabilities to scale. Leave temperature scaling out."
        raise ConfigError(msg)
    _check(p)
    metric = LogLoss()
    before = metric.value(p)
    if np.isnan(before):
        msg = "temperature scaling needs validation cases with targets, and none has one."
        raise DataError(msg)

    def loss(log_t: float) -> float:
        return metric.value(replace(p, probabilities=_probabilities(p, float(np.exp(log_t)))))

    low, high = np.log(RANGE)
    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    value = float(np.exp(found.x))
    # Equally good at an end of the range: flat, or better still beyond it.
    at_bound = bool(min(loss(low), loss(high)) <= found.fun + 1e-9)
    cases = int(np.isfinite(metric.cases(p)).sum())
    return Temperature(value=value, before=before, after=float(found.fun), at_bound=at_bound, cases=cases)


def _probabilities(p: Predictions, temperature: float) -> npt.NDArray[np.float64]:
    """Return (N, L) probabilities of the logits divided by T."""
    logits = p.logits.astype(np.float64) / temperature
    if p.task.kind == "multiclass":
        return np.asarray(special.softmax(logits, axis=1), dtype=np.float64)
    yes = np.asarray(special.expit(logits), dtype=np.float64)
    return yes if p.task.kind == "multilabel" else np.concatenate([1 - yes, yes], axis=1)


def _check(p: Predictions) -> None:
    implied = _probabilities(p, 1.0)
    gap = float(np.abs(implied - p.probabilities).max(initial=0.0)) if implied.shape == p.probabilities.shape else 1.0
    # A comparison that NaN fails, so that predictions that are not finite are refused too.
    if not gap <= TOLERANCE:
        msg = (
            f"the probabilities do not follow from the logits (largest gap {gap:.3f}), as in an average of several "
            "networks. Scale each network's logits before averaging."
        )
        raise DataError(msg)
