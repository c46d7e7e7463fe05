"""Pages in docs/results: a finished study as Markdown; every number comes from the study."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from allograft.core.atomic import write_text
from allograft.report.words import counted, interval, number, p_value, span
from allograft.study.conduct import conduct
from allograft.study.grid import read_study
from allograft.study.prepared import Launch
from allograft.study.summary import Summary, Table

__all__ = ["make", "notes", "scores"]

log = logging.getLogger(__name__)


def make(words: str, study: Path, to: Path, page: Callable[[Summary], str]) -> None:
    """Run what of a study is missing, as the command line asks; then write its page, or show it.

    Args:
        words: what `--help` says.
        study: the study's file; its runs lie in runs/NAME unless --out says otherwise.
        to: where --write puts the page.
        page: makes it.
    """
    asked = argparse.ArgumentParser(description=words)
    asked.add_argument("--out", type=Path, default=study.parents[1] / "runs" / study.stem)
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--write", action="store_true")
    given = asked.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    summary = conduct(
        read_study(study),
        given.out,
        launch=Launch(base=study.parent, workers=given.workers),
        on_outcome=lambda outcome, total: log.info("%s: %s", outcome.key.recipe, type(outcome).__name__),
    )
    text = page(summary)
    if given.write:
        to.parent.mkdir(parents=True, exist_ok=True)
        write_text(to, text)
    log.info("%s", text)


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
