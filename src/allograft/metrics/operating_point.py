"""Operating point: the threshold at which a probability becomes a decision, chosen on validation.

A threshold chosen on the test cases makes sensitivity and specificity look better than they are;
so choosing and applying are two steps on two sets. A case is positive where score >= threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from allograft.core.errors import ConfigError, DataError
from allograft.data.predictions import Predictions
from allograft.metrics.questions import Question, ranked_questions

__all__ = ["OperatingPoint", "Rates", "choose_operating_point"]

Rule = Literal["youden", "sensitivity", "specificity"]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a threshold gives on a set: counts, and rates that are NaN where undefined.

    Args:
        true_positive: positive cases called positive.
        false_negative: positive cases missed.
        true_negative: negative cases called negative.
        false_positive: negative cases called positive.
    """

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    @property
    def sensitivity(self) -> float:
        """Share of positive cases that are found."""
        return _share(self.true_positive, self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of negative cases that are called negative."""
        return _share(self.true_negative, self.false_positive)

    @property
    def ppv(self) -> float:
        """Share of positive calls that are right; depends on how frequent positives are."""
        return _share(self.true_positive, self.false_positive)

    @property
    def npv(self) -> float:
        """Share of negative calls that are right."""
        return _share(self.true_negative, self.false_negative)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold with where it comes from.

    Args:
        threshold: a case is positive where its probability is at least this.
        rule: how it was chosen.
        target: wanted sensitivity or specificity, NaN for Youden.
        label: class whose probability is meant.
        on_validation: rates on the cases that it was chosen on (optimistic).
    """

    threshold: float
    rule: Rule
    target: float
    label: str
    on_validation: Rates

    def rates(self, p: Predictions) -> Rates:
        """Return what the threshold gives on other cases."""
        return _rates(_asked(p, self.label), self.threshold)


def choose_operating_point(
    p: Predictions, rule: Rule = "youden", *, target: float = float("nan"), label: str = ""
) -> OperatingPoint:
    """Choose a threshold on validation predictions.

    Args:
        p: validation predictions of a binary or multi-label task.
        rule: "youden" maximises sensitivity + specificity - 1 (of equals the highest threshold);
            "sensitivity" takes the highest threshold that reaches `target`, "specificity" the
            lowest.
        target: in (0, 1], for the last two rules.
        label: class of a multi-label task; the positive class of a binary task by default.

    Raises:
        ConfigError: the task or the label does not fit, or the target is missing.
        DataError: validation has cases of one class only.
    """
    asked = _asked(p, label)
    if rule != "youden" and not 0 < target <= 1:
        msg = f"rule {rule!r} needs a target in (0, 1], got {target}. Say which {rule} is wanted."
        raise ConfigError(msg)
    if not asked.has_both:
        msg = f"class {asked.name!r}: validation needs positive and negative cases to choose a threshold."
        raise DataError(msg)
    false_rate, found_rate, thresholds = roc_curve(asked.truth, asked.score, drop_intermediate=False)
    # The curve starts at infinity ("nothing is positive"): the next number above all scores says the same.
    thresholds[0] = np.nextafter(asked.score.max(), np.inf)
    index = _pick(rule, target, found_rate, 1 - false_rate)
    threshold = float(thresholds[index])
    shown = target if rule != "youden" else float("nan")
    return OperatingPoint(
        threshold=threshold, rule=rule, target=shown, label=asked.name, on_validation=_rates(asked, threshold)
    )


def _pick(rule: Rule, target: float, found: npt.NDArray[np.float64], spared: npt.NDArray[np.float64]) -> int:
    """Return the index on the curve (thresholds fall along it)."""
    if rule == "youden":
        return int(np.argmax(np.round(found + spared, 12)))
    if rule == "sensitivity":
        return int(np.flatnonzero(found >= target - 1e-12)[0])
    return int(np.flatnonzero(spared >= target - 1e-12)[-1])


def _asked(p: Predictions, label: str) -> Question:
    by_name = {question.name: question for question in ranked_questions(p)}
    if p.task.kind == "binary" and not label:
        label = p.task.classes[1]
    if p.task.kind not in {"binary", "multilabel"} or label not in by_name:
        msg = (
            f"an operating point needs a binary task, or a multi-label task and one of its labels; got a "
            f"{p.task.kind} task and label {label!r}. Known: {', '.join(by_name)}."
        )
        raise ConfigError(msg)
    return by_name[label]


def _rates(asked: Question, threshold: float) -> Rates:
    called = asked.score >= threshold
    return Rates(
        true_positive=int(np.sum(asked.truth & called)),
        false_negative=int(np.sum(asked.truth & ~called)),
        true_negative=int(np.sum(~asked.truth & ~called)),
        false_positive=int(np.sum(~asked.truth & called)),
    )


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")
