"""Self-training: what procedures share in which a teacher labels a pool for a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from allograft.contracts import Lab
from allograft.core.errors import ConfigError, DataError
from allograft.data.cohort import Cohort
from allograft.data.pseudo_labels import (
    Answers,
    Chosen,
    answers_of,
    collapse,
    confident,
    listed,
    mask_answers,
    surest_masks,
    top_per_class,
)
from allograft.nets.network import Network

__all__ = ["Asking", "pool_of", "surest", "taught_by"]

CLASSES = ("binary", "multiclass", "segmentation")


class Asking(NamedTuple):
    """A question to a teacher: which round, whom, and who asks.

    Args:
        lab: the lab.
        teacher: labels without noise.
        round: from 1.
        who: the procedure.
    """

    lab: Lab
    teacher: Network
    round: int
    who: str


def pool_of(lab: Lab, who: str) -> Cohort:
    """Return the cases without labels.

    Raises:
        ConfigError: there are none, or the task has no classes of which one is true.
    """
    if lab.task.kind not in CLASSES:
        msg = (
            f"{who} ranks images by the probability of one class among several; this task is {lab.task.kind}. "
            "Use it in binary, multi-class and segmentation tasks; elsewhere an objective such as mean_teacher."
        )
        raise ConfigError(msg)
    if "unlabelled" not in lab.cohorts or not len(lab.cohorts["unlabelled"]):
        msg = (
            f"{who} labels cases without a label, and here every training case is labelled. Name label_fractions "
            "below 1 (not 1 itself), or label_counts, or give cases without a label in the data."
        )
        raise ConfigError(msg)
    return lab.cohorts["unlabelled"]


def surest(asking: Asking, *, top: int, per_image: int, floor: float) -> Cohort:
    """Return the top K cases of every class with hard labels, K = `top` or half of an even share; tell the round.

    Raises:
        ConfigError: a case is to be listed under more classes than there are.
    """
    lab, pool = asking.lab, pool_of(asking.lab, asking.who)
    classes = len(lab.task.classes)
    if per_image > (1 if lab.task.kind == "segmentation" else classes):
        most = "a segmentation lists each case by its own elements" if lab.task.kind == "segmentation" else classes
        msg = f"{asking.who}: per_image is {per_image}; the most here: {most}. Lower it."
        raise ConfigError(msg)
    wanted = top or max(1, len(pool) * per_image // (2 * classes))
    if lab.task.kind == "segmentation":
        proposed, answers = _proposed(asking, pool, floor)
        return _told(asking, answers, surest_masks(proposed, answers.table, top=wanted))
    answers = answers_of(lab.predict(_stage(asking), asking.teacher, pool), pool)
    return _told(asking, answers, listed(pool, top_per_class(answers.table, wanted, per_image)))


def taught_by(asking: Asking, *, floor: float, top: int, soft: bool) -> Cohort:
    """Return the cases that the teacher is sure of, at most `top` of a class (0: all); tell the round.

    Raises:
        DataError: it is sure of none.
    """
    lab, pool = asking.lab, pool_of(asking.lab, asking.who)
    if lab.task.kind == "segmentation":
        proposed, answers = _proposed(asking, pool, floor)
        return _told(asking, answers, surest_masks(proposed, answers.table, top=top, soft=soft))
    answers = answers_of(lab.predict(_stage(asking), asking.teacher, pool), pool)
    return _told(asking, answers, confident(pool, answers.table, floor=floor, top=top, soft=soft))


def _stage(asking: Asking) -> str:
    return f"guess-{asking.round}"


def _proposed(asking: Asking, pool: Cohort, floor: float) -> tuple[Cohort, Answers]:
    proposed = asking.lab.propose(_stage(asking), asking.teacher, pool, floor=floor)
    return proposed, mask_answers(proposed)


def _told(asking: Asking, answers: Answers, chosen: Chosen) -> Cohort:
    """Report a round and return its cases.

    Raises:
        DataError: there is none.
    """
    lab, kept = asking.lab, chosen.cohort
    if not len(kept):
        msg = (
            f"{asking.who}, round {asking.round}: no pseudo-label of {len(answers.ids)} cases is sure enough; the "
            f"teacher's mean confidence is {answers.confidence:.2f}. Lower min_confidence, or train the teacher longer."
        )
        raise DataError(msg)
    dense = lab.task.kind == "segmentation"
    said = collapse(answers, lab.task, None if dense else lab.cohorts["train"])
    empty = [name for name, count in zip(lab.task.classes, chosen.counts, strict=True) if not count]
    notes = [f"Collapsed (pseudo-labels of round {asking.round}): {said}"] if said else []
    notes += [f"Pseudo-labels of round {asking.round}: none of class {', '.join(empty)}."] if empty and not said else []
    facts: dict[str, float | str | Sequence[float]] = {
        "round": asking.round,
        "pool": len(answers.ids),
        "kept": len(kept),
        "kept_share": _kept_share(kept, len(answers.ids)),
        "confidence": answers.confidence,
        "classes": [float(share) for share in answers.share],
        "kept_by_class": [float(count) for count in chosen.counts],
        "note": " ".join(notes),
    }
    lab.report(_stage(asking), {**facts, **_agreement(lab, kept)})
    return kept


def _kept_share(kept: Cohort, pool: int) -> float:
    """Return the share of the pool's cases, or of its elements where masks were proposed, that count."""
    if kept.proposals is None:
        return len(kept) / pool
    return sum(kept.proposals.kept(case.id) for case in kept) / pool


def _agreement(lab: Lab, kept: Cohort) -> Mapping[str, float]:
    found = lab.agreement(kept)
    return {} if found is None else {"agreement": found}
