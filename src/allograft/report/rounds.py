"""Rounds: the table of pseudo-labels, round by round."""

from __future__ import annotations

from allograft.report.tables import Cell, Column, Grid
from allograft.report.words import counted, number, percent
from allograft.study.summary import Table

__all__ = ["round_table"]


def round_table(table: Table) -> Grid | None:
    """Return what teachers said in each round; None where no recipe made pseudo-labels."""
    if not table.rounds:
        return None
    judged = any(one.validation is not None for one in table.rounds)
    rows = []
    for one in table.rounds:
        bad = f"collapsed in {one.collapsed} of {one.runs}" if one.collapsed else ""
        rows.append(
            (
                Cell(f"{one.recipe}, round {one.round}", below=counted(one.runs, "run"), mark=bad),
                Cell(percent(one.agreement), one.agreement),
                Cell(percent(one.kept), one.kept),
                Cell(number(one.confidence), one.confidence),
                *((Cell(number(one.validation), one.validation),) if judged else ()),
                Cell(" · ".join(f"{name} {percent(share)}" for name, share in one.classes.items())),
            )
        )
    columns = (
        Column("recipe and round"),
        Column("true", True, "share of the taught labels that are true, where the data know; nothing learns from it"),
        Column("kept", True, "share of the unlabelled cases, of masks of their elements, that were taught"),
        Column("confidence", True, "mean probability of the teacher's answers on all unlabelled cases"),
        *((Column("validation", True, "of the round's student; decides whether the chain goes on"),) if judged else ()),
        Column("classes", False, "the teacher's answers on all unlabelled cases, before any choice"),
    )
    return Grid("pseudo-labels by round, means over runs", columns, tuple(rows))
