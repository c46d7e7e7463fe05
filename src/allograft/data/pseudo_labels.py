"""Pseudo-labels: which of a network's answers become targets, and what each of them counts for. No torch.

Ties go to the smaller index everywhere, of cases and of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.task import Task
from allograft.data.case import Target
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions

__all__ = [
    "Answers",
    "Chosen",
    "answers_of",
    "collapse",
    "confident",
    "listed",
    "mask_answers",
    "surest_masks",
    "top_per_class",
]

Table = npt.NDArray[np.float64]
RARE = 0.1
"""A class collapsed where answers name it less often than this share of what labelled cases let one expect (ours)."""
EXPECTED = 3.0
"""Least expected number of answers of a class for that; below, a sound teacher may have none by chance (ours)."""


class Answers(NamedTuple):
    """What a network said of a pool of N cases.

    Args:
        ids: of the cases.
        table: (N, L): probability of each class; of masks, mean probability of the elements said to be of it,
            0 where there are none.
        share: (L,): share of each class among the most probable ones, of cases or of elements.
        confidence: mean probability of the most probable class.
    """

    ids: tuple[str, ...]
    table: Table
    share: Table
    confidence: float


class Chosen(NamedTuple):
    """Cases with pseudo-labels, and how many of them each class has (a case may count under several)."""

    cohort: Cohort
    counts: tuple[int, ...]


def answers_of(found: Predictions, cohort: Cohort) -> Answers:
    """Return what was predicted of each case; where groups are scored, its group's answer."""
    row = {name: i for i, name in enumerate(found.ids)}
    by_group = found.task.score_by == "group"
    table = found.probabilities[[row[case.group if by_group else case.id] for case in cohort]]
    share = np.bincount(table.argmax(1), minlength=table.shape[1]) / max(1, len(table))
    return Answers(cohort.ids, table, share, float(table.max(1).mean()))


def mask_answers(proposed: Cohort) -> Answers:
    """Return what was proposed of each case, from its mask and the probabilities beside it."""
    assert proposed.proposals is not None, "masks were proposed"
    whole, classes = proposed.proposals.model_copy(update={"floor": 0.0, "hard": False}), len(proposed.task.classes)
    counts, sums = np.zeros((2, len(proposed), classes))
    for i, case in enumerate(proposed):
        mask, sure = whole.mask(case.id).ravel(), whole.weight(case.id).ravel()
        counts[i] = np.bincount(mask, minlength=classes)
        sums[i] = np.bincount(mask, weights=sure, minlength=classes)
    total = max(1.0, float(counts.sum()))
    table = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return Answers(proposed.ids, table, counts.sum(0) / total, float(sums.sum() / total))


def top_per_class(table: Table, top: int, per_image: int = 1) -> tuple[tuple[int, ...], ...]:
    """Return for every class the rows that name it most surely, at most `top`, the surest first.

    Args:
        table: (N, L) probabilities.
        top: K, cases of a class.
        per_image: P, classes under which a case may be listed: its P most probable ones.

    >>> top_per_class(np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]), top=1)
    ((1,), (2,))
    """
    named = np.argsort(-table, axis=1, kind="stable")[:, :per_image]
    found = []
    for which in range(table.shape[1]):
        rows = np.flatnonzero((named == which).any(1))
        order = np.argsort(-table[rows, which], kind="stable")[:top]
        found.append(tuple(int(i) for i in rows[order]))
    return tuple(found)


def listed(cohort: Cohort, lists: Sequence[Sequence[int]]) -> Chosen:
    """Return the cases of the lists with the class of each list as target; every class counts for the same in all.

    A case on several lists carries all of their classes, in shares, and counts for as many: with cross-entropy
    this is the loss of one copy of it for each list. Weights average 1 over the places on the lists.

    Args:
        cohort: the pool; rows of the lists are its own.
        lists: of each class.
    """
    classes, filled = len(lists), [rows for rows in lists if rows]
    mean = sum(map(len, filled)) / max(1, len(filled))
    weight = np.zeros((len(cohort), classes))
    for which, rows in enumerate(lists):
        weight[list(rows), which] = mean / len(rows) if rows else 0
    kept = np.flatnonzero(weight.any(1))
    targets: dict[str, dict[str, Target]] = {}
    for i in kept:
        shares = weight[i] / weight[i].sum()
        single = np.count_nonzero(shares) == 1
        targets[cohort.ids[i]] = {
            cohort.task.head: int(shares.argmax()) if single else tuple(float(share) for share in shares)
        }
    found = cohort.subset(targets).with_targets(targets)
    each = {cohort.ids[i]: float(weight[i].sum()) for i in kept}
    return Chosen(replace(found, weights=each), tuple(map(len, lists)))


def confident(cohort: Cohort, table: Table, *, floor: float, top: int = 0, soft: bool = True) -> Chosen:
    """Return the cases whose most probable class has at least the probability `floor`, as classes or probabilities.

    Args:
        cohort: the pool; rows of the table are its own.
        table: (N, L).
        floor: in [0, 1].
        top: at most so many of each class, the surest; 0 for all.
        soft: probabilities as targets instead of classes.
    """
    sure, best = table.max(1), table.argmax(1)
    counts, targets = [], {}
    for which in range(table.shape[1]):
        rows = np.flatnonzero((best == which) & (sure >= floor))
        rows = rows[np.argsort(-sure[rows], kind="stable")][: top or None]
        counts.append(len(rows))
        for i in rows:
            value: Target = tuple(float(p) for p in table[i]) if soft else which
            targets[cohort.ids[i]] = {cohort.task.head: value}
    return Chosen(cohort.subset(targets).with_targets(targets), tuple(counts))


def surest_masks(proposed: Cohort, table: Table, *, top: int = 0, soft: bool = False) -> Chosen:
    """Return the cases with proposed masks of which some element counts; of each class at most `top`, the surest.

    Args:
        proposed: cases with proposals, whose floor says what counts.
        table: (N, L) of `mask_answers`.
        top: at most so many cases of each class, 0 for all; a case that any class takes is kept whole.
        soft: elements weigh their probability instead of 1.
    """
    assert proposed.proposals is not None, "masks were proposed"
    counted = [i for i, case in enumerate(proposed) if proposed.proposals.kept(case.id)]
    taken: set[int] = set()
    counts = []
    for which in range(table.shape[1]):
        rows = np.array([i for i in counted if table[i, which] > 0], dtype=np.int64)
        rows = rows[np.argsort(-table[rows, which], kind="stable")][: top or None]
        counts.append(len(rows))
        taken.update(int(i) for i in rows)
    kept = proposed.subset(proposed.ids[i] for i in taken)
    found = replace(kept, proposals=proposed.proposals.model_copy(update={"hard": not soft}))
    return Chosen(found, tuple(counts))


def collapse(answers: Answers, task: Task, labelled: Cohort | None = None) -> str:
    """Say which classes the answers (next to) never name though the task has them; "" where all is well.

    Args:
        answers: of the whole pool, before anything was chosen.
        task: names the classes.
        labelled: cases whose classes tell what to expect; None (masks): any class that is never named is told.
    """
    count = len(answers.ids)
    known = np.full(len(task.classes), np.inf)
    if labelled is not None:
        true = [case.targets[task.head] for case in labelled if task.head in case.targets]
        known = np.bincount(np.array(true, dtype=np.int64), minlength=len(task.classes)) / max(1, len(true)) * count
    alone = int((answers.share > 0).sum()) == 1
    rare = (known >= EXPECTED) & (answers.share * count < RARE * np.where(np.isinf(known), 1e-9, known))
    gone = [task.classes[i] for i in np.flatnonzero(rare | (alone & (answers.share == 0)))]
    if not gone:
        return ""
    top = int(answers.share.argmax())
    return (
        f"{answers.share[top]:.0%} of the pseudo-labels are {task.classes[top]}, (next to) none "
        f"{' or '.join(gone)}: what follows learns from a teacher that does not tell the classes apart."
    )
