"""allograft compare: what a study found, in a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AsJson, emit_json, out, table

if TYPE_CHECKING:
    from allograft.study.summary import Summary, Table

__all__ = ["as_data", "compare", "show"]


def compare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    as_json: AsJson = False,
) -> None:
    """Say which recipe won, by how much, and whether the difference is real."""
    from allograft.study.summarise import summarise

    summary = summarise(folder)
    if as_json:
        emit_json(as_data(summary))
    else:
        show(summary)


def as_data(summary: Summary) -> dict[str, Any]:
    """Return the headline table's recipes and pairs, and every table beside them."""
    tables = [_table(t) for t in summary.tables]
    first = tables[0] if tables else {"recipes": [], "pairs": []}
    return {
        "study": summary.study,
        "metric": summary.metric,
        "headline": list(summary.headline),
        "recipes": first["recipes"],
        "pairs": first["pairs"],
        "tables": tables,
        "failures": [f.model_dump(mode="json", exclude={"traceback"}) for f in summary.failures],
        "runs": {"finished": len(summary.runs), "planned": summary.planned},
    }


def _table(t: Table) -> dict[str, Any]:
    recipes = [
        {
            "name": r.name,
            "mean": r.estimate.mean,
            "ci": _ci(r.estimate.low, r.estimate.high),
            "n_units": r.estimate.n_units,
        }
        for r in t.recipes
    ]
    fields = {
        "a",
        "b",
        "difference",
        "ci",
        "test",
        "unit",
        "n_units",
        "p",
        "p_adjusted",
        "verdict",
        "margin",
        "sentence",
    }
    pairs = [p.model_dump(mode="json", include=fields) for p in t.pairs]
    unseen = [u.model_dump(mode="json") for u in t.unseen]
    found = {"dataset": t.dataset, "label_fraction": t.label_fraction, "recipes": recipes, "pairs": pairs}
    return {**found, "unseen": unseen} if unseen else found


def _ci(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


def show(summary: Summary) -> None:
    """Write the verdict and the tables for a person."""
    for sentence in summary.headline:
        out.print(sentence, markup=False)
    for t in summary.tables:
        title = f"{t.dataset}, {t.label_fraction:.0%} of the labels: {summary.metric_title} over {t.n_units} {t.unit}s"
        rows = [
            (r.name, _number(r.estimate.mean), _span(r.estimate.low, r.estimate.high), r.runs, f"{r.seconds:.1f}")
            for r in t.recipes
        ]
        table(title, ("recipe", "mean", "95% interval", "runs", "s/run"), rows)
        pairs = [
            (f"{p.a} - {p.b}", _number(p.difference), _span(*(p.ci or (None, None))), _chance(p.p_adjusted), p.verdict)
            for p in t.pairs
        ]
        table(
            "pairs (positive: the first is better)", ("pair", "difference", "95% interval", "Holm p", "verdict"), pairs
        )
        _show_unseen(t, summary)
    if summary.failures:
        out.print(f"{len(summary.failures)} runs failed; first: {summary.failures[0].message}", markup=False)


def _show_unseen(t: Table, summary: Summary) -> None:
    """Write what recipes lose on data that nothing of the study has seen."""
    seen = {r.name: r.estimate.mean for r in t.recipes}
    for u in t.unseen:
        rows = []
        for name, e in u.estimates.items():
            here = seen[name]
            change = None if e.mean is None or here is None else e.mean - here
            rows.append((name, _number(here), _number(e.mean), _span(e.low, e.high), _number(change)))
        title = f"unseen {u.dataset}: {summary.metric_title} over {u.n_units} {u.unit}s"
        table(title, ("recipe", "studied", "unseen", "95% interval", "change"), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _chance(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
