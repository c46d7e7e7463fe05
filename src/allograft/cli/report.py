"""allograft report: write the HTML report of a study again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson, emit_json, out

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    to: Annotated[Path | None, typer.Option("--to", help="The HTML file; by default DIR/report.html.")] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Whether images of cases are shown (masks, where networks look, what pretext tasks make of images).",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML file from what is finished so far; needs no torch."""
    from allograft.report.write import write_report
    from allograft.study.summarise import summarise

    summary = summarise(folder)
    if not pictures:
        summary = summary.without_pictures()
    path = write_report(summary, to or folder / "report.html")
    if as_json:
        emit_json({"report": str(path)})
    else:
        out.print(str(path), markup=False)
