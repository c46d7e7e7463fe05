"""Pages in docs/results: a finished study as Markdown; every number comes from the study."""

from __future__ import annotations

from allograft.report.words import counted, interval, number, p_value, span
from allograft.study.summary import Summary, Table

__all__ = ["notes", "scores"]


def scores(table: Table, summary: Summary) -> list[str]:
    """Return the recipes of a table and their differences."""
    units = counted(table.n_units, table.unit)
    rows = [
        f"| {r.name} | {interval(r.estimate)} | {r.procedure.split('(')[0]} | {r.source or '–'} | {r.seconds:.0f} |"
        for r in table.recipes
    ]
    pairs = [
        f"| {p.a} − {p.b} | {number(p.difference)} | {span(*(p.ci or (None, None)))} | {p_value(p.p_adjusted)} "
        f"| {p.verdict} |"
        for p in table.pairs
    ]
    return [
        f"## {table.dataset}, {table.label_fraction:.0%} of the labels",
        "",
        f"| recipe | {summary.metric_title} over {units} (95 % interval) | procedure | weights | s/run |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "| pair | difference | 95 % interval | Holm p | verdict |",
        "|---|---|---|---|---|",
        *pairs,
        "",
    ]


def notes(summary: Summary) -> list[str]:
    """Return what the numbers speak of."""
    said = dict.fromkeys(note for table in summary.tables for note in table.notes)
    return ["## What it speaks of", "", *(f"- {note}" for note in said), f"- {_repeats(summary)}", ""]


def _repeats(summary: Summary) -> str:
    folds, seeds = ({getattr(r.key, name) for r in summary.runs} for name in ("fold", "seed"))
    done = f"{len(summary.runs)} of {counted(summary.planned, 'run')}"
    return f"{counted(len(folds), 'test fold')}, {counted(len(seeds), 'seed')}; {done} finished."
