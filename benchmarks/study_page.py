"""Pages in docs/results: a finished study as Markdown; every number comes from the study."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from allograft.core.atomic import write_text
from allograft.report.words import NONE, counted, interval, number, p_value, span
from allograft.study.conduct import conduct
from allograft.study.fuse import fuse
from allograft.study.grid import read_study
from allograft.study.label_need import LabelNeed, Saving
from allograft.study.prepared import Launch
from allograft.study.summarise import summarise
from allograft.study.summary import Pair, Summary, Table

__all__ = ["fusions", "labels_to_target", "make", "notes", "scores"]

log = logging.getLogger(__name__)


def make(
    words: str, study: Path, to: Path, page: Callable[[Summary], str], *, fused: Sequence[Sequence[str]] = ()
) -> None:
    """Run what of a study is missing, as the command line asks; then write its page, or show it.

    Args:
        words: what `--help` says.
        study: the study's file; its runs lie in runs/NAME unless --out says otherwise.
        to: where --write puts the page.
        page: makes it.
        fused: recipes whose finished runs are fused before the page is made.
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
    for recipes in fused:
        fuse(given.out.resolve(), recipes)
    text = page(summarise(given.out.resolve()) if fused else summary)
    if given.write:
        to.parent.mkdir(parents=True, exist_ok=True)
        write_text(to, text)
    log.info("%s", text)


def scores(table: Table, summary: Summary, *, against: str = "") -> list[str]:
    """Return the recipes of a table and their differences, all of them or those against one recipe."""
    units = counted(table.n_units, table.unit)
    rows = [
        f"| {r.name} | {interval(r.estimate)} | {r.procedure.split('(')[0]} | {r.source or '–'} | {r.seconds:.0f} |"
        for r in table.recipes
    ]
    pairs = [p for p in table.pairs if not against or against in {p.a, p.b}]
    return [
        f"## {table.dataset}, {table.label_fraction:.0%} of the labels",
        "",
        f"| recipe | {summary.metric_title} over {units} (95 % interval) | procedure | weights | s/run |",
        "|---|---|---|---|---|",
        *rows,
        "",
        *_pairs(pairs),
    ]


def _pairs(pairs: Sequence[Pair]) -> list[str]:
    rows = [
        f"| {p.a} − {p.b} | {number(p.difference)} | {span(*(p.ci or (None, None)))} | {p_value(p.p_adjusted)} "
        f"| {p.verdict} |"
        for p in pairs
    ]
    head = ["| pair | difference | 95 % interval | Holm p | verdict |", "|---|---|---|---|---|"]
    return [*head, *rows, ""]


def fusions(table: Table, summary: Summary) -> list[str]:
    """Return the fusions of a table beside their members, and against each of them."""
    lines = []
    for one in table.fused:
        rows = [f"| {name} | {interval(e)} |" for name, e in {one.name: one.estimate, **one.members}.items()]
        lines += [
            f"## Fused: {one.rule}",
            "",
            f"| recipe | {summary.metric_title} over {counted(one.n_units, one.unit)} (95 % interval) |",
            "|---|---|",
            *rows,
            "",
            *_pairs([pair for pair in one.pairs if one.name in {pair.a, pair.b}]),
        ]
    return lines


def labels_to_target(need: LabelNeed, summary: Summary, papers: Mapping[tuple[str, str], str]) -> list[str]:
    """Return how many labels the arms that ask for them took.

    Args:
        need: of one data set and first number of labels.
        summary: of the study.
        papers: what a paper reports for (recipe, against).
    """
    lines = [
        f"## Labels to {summary.metric_title} {need.target:.3f}, beginning with {need.label_fraction:.0%} of them",
        "",
        f"{need.rule}",
        "",
        "| recipe | labels (median over seeds) | seeds that got there |",
        "|---|---|---|",
    ]
    for n in need.needs:
        there = sum(value is not None for value in n.by_seed.values())
        labels = f"{n.labels:g}" if n.labels is not None else f"more than {n.at_least:g}"
        lines.append(f"| {n.recipe} | {labels} | {there} of {len(n.by_seed)} |")
    said = " the paper says |" if papers else ""
    lines += [
        "",
        f"| recipe | against | fewer labels | 95 % interval | pairs |{said}",
        f"|---|---|---|---|---|{'---|' if papers else ''}",
    ]
    for s in need.savings:
        paper = f" {papers.get((s.recipe, s.against), NONE)} |" if papers else ""
        lines.append(f"| {s.recipe} | {s.against} | {_percent(s)} | {_interval(s)} | {s.seeds} of {s.of} |{paper}")
    return [*lines, ""]


def _percent(s: Saving) -> str:
    if s.percent is None:
        return NONE
    return f"{s.percent:.0f} %" if s.bound == "equal" else f"{s.bound} {s.percent:.0f} %"


def _interval(s: Saving) -> str:
    return NONE if s.low is None or s.high is None else f"{number(s.low)} to {number(s.high)}"


def notes(summary: Summary) -> list[str]:
    """Return what the numbers speak of."""
    said = dict.fromkeys(note for table in summary.tables for note in table.notes)
    return ["## What it speaks of", "", *(f"- {note}" for note in said), f"- {_repeats(summary)}", ""]


def _repeats(summary: Summary) -> str:
    folds, seeds = ({getattr(r.key, name) for r in summary.runs} for name in ("fold", "seed"))
    done = f"{len(summary.runs)} of {counted(summary.planned, 'run')}"
    return f"{counted(len(folds), 'test fold')}, {counted(len(seeds), 'seed')}; {done} finished."
