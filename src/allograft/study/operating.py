"""Operating: the threshold that a study's validation cases give, and what it does elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from allograft.core.errors import AllograftError
from allograft.data.predictions import Predictions
from allograft.infer.ensemble import Predictor
from allograft.metrics.judgement import take
from allograft.metrics.operating_point import OperatingPoint, Rates, Rule, choose_operating_point
from allograft.metrics.temperature import Temperature
from allograft.stats.bootstrap import cluster_replicates
from allograft.stats.evidence import from_replicates
from allograft.stats.intervals import SMALL, Interval, wilson_interval
from allograft.stats.verdict import MIN_UNITS
from allograft.study.external_result import OperatingResult, Rate
from allograft.study.frames import from_frame
from allograft.study.store import RunStore
from allograft.study.winner import Chosen

__all__ = ["operating_results", "validation_predictions"]

NAMES = ("sensitivity", "specificity", "ppv", "npv")
RESAMPLES = 1999


def validation_predictions(chosen: Chosen, predictor: Predictor) -> Predictions | None:
    """Return the validation predictions of all runs, a row for each case; None without a study.

    Each run is scaled by its own temperature; where several runs validated a case, their
    probabilities are averaged, as the ensemble's are.
    """
    if chosen.study is None or not chosen.runs:
        return None
    store, task = RunStore(chosen.study), predictor.task
    rows: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    truth: dict[str, tuple[str, npt.NDArray[np.int64]]] = {}
    for run, member in zip(chosen.runs, predictor.members, strict=True):
        raw = from_frame(store.predictions(run, "val"), task)
        p = _temperature(member.bundle.temperature).apply(raw)
        for i, name in enumerate(p.ids):
            rows[name].append(p.probabilities[i])
            truth[name] = (p.groups[i], p.targets[i])
    probabilities = np.stack([np.mean(found, axis=0) for found in rows.values()])
    return Predictions(
        task=task,
        ids=tuple(rows),
        groups=tuple(truth[name][0] for name in rows),
        logits=np.zeros((len(rows), task.outputs), dtype=np.float32),
        probabilities=probabilities,
        targets=np.stack([truth[name][1] for name in rows]),
    )


def _temperature(value: float) -> Temperature:
    nan = float("nan")
    return Temperature(value=value, before=nan, after=nan, at_bound=False, cases=0)


def operating_results(
    validation: Predictions | None, external: Predictions, rule: tuple[Rule, float]
) -> tuple[tuple[OperatingResult, ...], tuple[str, ...]]:
    """Choose a threshold for each yes/no question on validation and apply it to the external cases.

    Args:
        validation: of the study, None where it is not there.
        external: the cases to judge.
        rule: name and target.

    Returns:
        The results, and what must be said where there are none.
    """
    task = external.task
    if task.kind not in {"binary", "multilabel"}:
        return (), ("several classes have no single operating point: the most probable class decides.",)
    if validation is None:
        return (), ("no validation predictions beside the networks: no operating point could be chosen.",)
    found, said = [], []
    for label in task.classes[1:] if task.kind == "binary" else task.classes:
        try:
            point = choose_operating_point(validation, rule[0], target=rule[1], label=label)
        except AllograftError as error:
            said.append(f"no operating point for {label}: {error}")
            continue
        found.append(_result(point, validation, external))
    if found and len(set(validation.groups)) < len(validation):
        said.append("thresholds were chosen over validation cases, several of which may share a unit.")
    return tuple(found), tuple(said)


def _result(point: OperatingPoint, validation: Predictions, external: Predictions) -> OperatingResult:
    return OperatingResult(
        label=point.label,
        threshold=point.threshold,
        rule=point.rule,
        target=point.target if np.isfinite(point.target) else None,
        validation_cases=len(validation),
        on_validation={name: _known(getattr(point.on_validation, name)) for name in NAMES},
        rates=_rates(point, external),
    )


def _rates(point: OperatingPoint, p: Predictions) -> tuple[Rate, ...]:
    """Return the rates with intervals: Wilson's where every case is a unit, else over resampled units."""
    rates = point.rates(p)
    units = len(set(p.groups))
    if units < MIN_UNITS:
        intervals: Sequence[Interval] = [Interval(float("nan"), float("nan"), 0.95, "cannot tell")] * len(NAMES)
    elif units == len(p):
        intervals = [wilson_interval(*counts) for counts in _counts(rates)]
    else:
        intervals = _over_units(point, p, few=units < SMALL)
    return tuple(
        Rate(
            name=name,
            value=_known(getattr(rates, name)),
            low=_known(interval.low),
            high=_known(interval.high),
            method=interval.method,
            of=of,
        )
        for name, interval, (_, of) in zip(NAMES, intervals, _counts(rates), strict=True)
    )


def _counts(r: Rates) -> tuple[tuple[int, int], ...]:
    """Return successes and trials of sensitivity, specificity, PPV and NPV."""
    return (
        (r.true_positive, r.true_positive + r.false_negative),
        (r.true_negative, r.true_negative + r.false_positive),
        (r.true_positive, r.true_positive + r.false_positive),
        (r.true_negative, r.true_negative + r.false_negative),
    )


def _over_units(point: OperatingPoint, p: Predictions, *, few: bool) -> list[Interval]:
    def statistic(cases: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        rates = point.rates(take(p, cases))
        return np.array([getattr(rates, name) for name in NAMES])

    draws = cluster_replicates(statistic, p.groups, resamples=0 if few else RESAMPLES)
    out = []
    for k in range(len(NAMES)):
        found = from_replicates(draws.arm(k))
        low, high = np.clip(found.ci, 0.0, 1.0)
        out.append(Interval(float(low), float(high), 0.95, found.test))
    return out


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
