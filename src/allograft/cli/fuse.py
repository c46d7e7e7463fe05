"""allograft fuse: finished runs of several recipes made one prediction, and whether that is better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson, emit_json, out, table

__all__ = ["fuse"]


def fuse(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    recipes: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE RECIPE...", help="Two or more of its recipes; the first decides ties."),
    ],
    as_json: AsJson = False,
) -> None:
    """Fuse finished runs of recipes: mean of probabilities, or majority of masks; judged against each of them."""
    from allograft.report.write import write_report
    from allograft.study.fuse import fuse as fuse_runs
    from allograft.study.summarise import summarise

    found = fuse_runs(folder, recipes)
    summary = summarise(folder)
    path = write_report(summary, folder / "report.html")
    if as_json:
        emit_json({"fused": [one.model_dump(mode="json") for one in found], "report": str(path)})
        return
    for one in found:
        rows = [
            (name, _number(e.mean), "-" if e.low is None or e.high is None else f"{e.low:.3f} to {e.high:.3f}")
            for name, e in {one.name: one.estimate, **one.members}.items()
        ]
        title = f"{one.dataset}, {one.label_fraction:.0%} of the labels, {one.rule}: {summary.metric_title}"
        table(f"{title} over {one.n_units} {one.unit}s", ("recipe", "mean", "95% interval"), rows)
        for pair in one.pairs:
            out.print(pair.sentence, markup=False)
    out.print(str(path), markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
