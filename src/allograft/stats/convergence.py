"""Steps to a threshold: how much sooner an arm gets there, with runs that never do kept in.

Paper     The measure of Raghu, Zhang, Kleinberg, Bengio (Transfusion), NeurIPS 2019, arXiv:1902.07208
Differs   Runs that never reach the threshold are censored, not dropped: dropping them would make an
          arm that often fails look fast. Medians over seeds are Kaplan-Meier's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from allograft.core.errors import DataError

__all__ = ["MedianSteps", "Reached", "SpeedUp", "median_steps", "speed_up", "steps_to_threshold"]


class Reached(NamedTuple):
    """When one run reached a threshold.

    Args:
        step: first evaluation at or beyond the threshold, None where it was never reached.
        last: step of the run's last evaluation; without `step`, the run is censored here.
        resolution: steps since the evaluation before; the true crossing lies within.
    """

    step: int | None
    last: int
    resolution: int


class MedianSteps(NamedTuple):
    """Median over runs.

    Args:
        steps: the median, None where too few runs reached the threshold.
        at_least: what the median exceeds where it is None, else equal to it.
        reached: runs that reached the threshold.
        runs: all runs.
    """

    steps: float | None
    at_least: float
    reached: int
    runs: int


class SpeedUp(NamedTuple):
    """How many times sooner an arm reaches the threshold than its baseline.

    Args:
        factor: steps of the baseline over steps of the arm; None where unknown.
        bound: "equal", or "at least" / "at most" where one median is censored, or "unknown".
    """

    factor: float | None
    bound: Literal["equal", "at least", "at most", "unknown"]


def steps_to_threshold(
    curve: Sequence[tuple[int, float]], threshold: float, *, held: int = 1, larger_is_better: bool = True
) -> Reached:
    """Return the first evaluation from which the metric is at or beyond the threshold.

    Args:
        curve: (step, metric) in order of step; a NaN metric never counts as reached.
        threshold: value to reach.
        held: consecutive evaluations that must hold it; the first of them is returned.
        larger_is_better: direction of the metric.

    Raises:
        DataError: the curve is empty or its steps do not rise.
        ValueError: `held` is below 1.

    >>> steps_to_threshold([(0, 0.5), (10, 0.9), (20, 0.7), (30, 0.92), (40, 0.93)], 0.9, held=2).step
    30
    """
    if held < 1:
        msg = f"held counts evaluations and is at least 1, got {held}."
        raise ValueError(msg)
    steps = [step for step, _ in curve]
    if not steps or any(later <= earlier for earlier, later in pairwise(steps)):
        msg = f"a curve needs evaluations at rising steps, got {steps[:10]}."
        raise DataError(msg)
    good = [value >= threshold if larger_is_better else value <= threshold for _, value in curve]
    for i in range(len(good) - held + 1):
        if all(good[i : i + held]):
            return Reached(steps[i], steps[-1], steps[i] - steps[i - 1] if i else 0)
    return Reached(None, steps[-1], 0)


def median_steps(runs: Sequence[Reached]) -> MedianSteps:
    """Return the Kaplan-Meier median over runs; with every run complete, the ordinary median.

    Raises:
        DataError: there are no runs.
    """
    if not runs:
        msg = "a median needs at least one run."
        raise DataError(msg)
    reached = sum(run.step is not None for run in runs)
    alive, seen = 1.0, 0.0
    flat: float | None = None
    for time in sorted({run.step for run in runs if run.step is not None}):
        at_risk = sum((run.last if run.step is None else run.step) >= time for run in runs)
        events = sum(run.step == time for run in runs)
        alive *= 1 - events / at_risk
        if flat is not None:
            return MedianSteps((flat + time) / 2, (flat + time) / 2, reached, len(runs))
        if alive < 0.5 and not math.isclose(alive, 0.5):
            return MedianSteps(float(time), float(time), reached, len(runs))
        # Exactly half: the median lies between this time and the next, as for an even number.
        flat = float(time) if math.isclose(alive, 0.5) else None
        seen = float(time)
    seen = max(seen, float(min((run.last for run in runs if run.step is None), default=0))) if flat is None else flat
    return MedianSteps(None, seen, reached, len(runs))


def speed_up(baseline: MedianSteps, arm: MedianSteps) -> SpeedUp:
    """Return steps of the baseline over steps of the arm, as a bound where one is censored."""
    if arm.steps == 0 or (baseline.steps is None and arm.steps is None):
        return SpeedUp(None, "unknown")
    factor = baseline.at_least / arm.at_least if arm.at_least > 0 else None
    if factor is None:
        return SpeedUp(None, "unknown")
    if baseline.steps is None:
        return SpeedUp(factor, "at least")
    return SpeedUp(factor, "at most" if arm.steps is None else "equal")
