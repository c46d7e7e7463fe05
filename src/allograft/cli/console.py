"""What commands write: tables and progress for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.table import Column, Table

__all__ = ["AcceptLicence", "AsJson", "Plugin", "Tick", "emit_json", "err", "fail", "out", "progress", "table"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output instead of text.")]
AcceptLicence = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", metavar="NAME", help="Weights whose non-commercial licence you accept."),
]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", help="Python module whose methods the study file may name.")
]


def emit_json(data: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(data, indent=2, sort_keys=False, allow_nan=False) + "\n")


def fail(error: Exception) -> None:
    """Write an error: JSON on standard output where --json was asked for, text on standard error."""
    if "--json" in sys.argv:
        emit_json({"error": {"kind": type(error).__name__, "message": str(error)}})
    err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
    err.print(str(error), markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table."""
    shown = Table(
        *(Column(name, overflow="fold") for name in columns),
        title=title,
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(shown)


class Tick(Protocol):
    """Called with how many are done, of how many, and what is under way."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show progress."""


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Tick]:
    """Yield a callback that shows a bar with the time left; plain lines where there is no terminal."""
    if quiet:
        yield lambda done, total, what="": None
        return
    if not err.is_terminal:
        yield _lines(title)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[what]}"), console=err) as bar:
        job = bar.add_task(title, total=None, what="")

        def tick(done: int, total: int, what: str = "") -> None:
            bar.update(job, completed=done, total=total, what=what)

        yield tick


def _lines(title: str) -> Tick:
    last = [-1]

    def tick(done: int, total: int, what: str = "") -> None:
        tenth = 10 * done // max(1, total)
        if tenth != last[0]:
            last[0] = tenth
            err.print(f"{title}: {done}/{total} {what}".rstrip(), markup=False)

    return tick


def as_rows(data: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return a mapping as rows of a two-column table."""
    return list(data.items())
