"""Answers: the labels that a run asks for, out of the data or from a person."""

from __future__ import annotations

from collections.abc import Sequence

from allograft.core.errors import DataError
from allograft.data.cohort import Cohort
from allograft.study.desk import Desk

__all__ = ["answers"]


def answers(ids: Sequence[str], unlabelled: Cohort, truth: Cohort | None, desk: Desk | None) -> Cohort:
    """Return the named unlabelled cases with their labels.

    Args:
        ids: of unlabelled cases.
        unlabelled: the cases that may be asked for.
        truth: training cases with every label that the data set has, None where it may not be read.
        desk: where a person answers; None takes the data's labels.

    Raises:
        DataError: a case is not among the unlabelled ones, or nobody knows its label.
        Pending: a person has not answered for all of them yet.
    """
    if desk is not None:
        return desk.answered(unlabelled.subset(ids), ids, like=truth)
    known = () if truth is None else truth.labelled().ids
    missing = sorted(set(ids) - set(known) or set(ids) - set(unlabelled.ids))
    if missing or truth is None:
        msg = (
            f"{len(missing)} of {len(ids)} cases cannot be labelled, first {missing[:1]}: they are not among the "
            "unlabelled training cases of this run, or the data set does not know their label."
        )
        raise DataError(msg)
    return truth.subset(ids)
