"""allograft label: a local page where a person labels images with the keyboard, or masks drawn elsewhere taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from allograft.cli.console import AsJson, emit_json, err, out
from allograft.core.errors import ConfigError

__all__ = ["label"]


class _Masks(NamedTuple):
    """A folder of masks, what values mean in them, and whether they may be empty."""

    folder: Path
    values: str
    empty: bool


def label(
    questions: Annotated[
        Path, typer.Argument(metavar="TO_LABEL.csv", help="As `allograft select` or a study writes it.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="The table of labels; what it holds is kept.")],
    classes: Annotated[str, typer.Option(help="Names of the classes, with commas between; of masks by value.")],
    masks: Annotated[Path | None, typer.Option(help="A folder of masks drawn elsewhere, in place of the page.")] = None,
    images: Annotated[Path | None, typer.Option(help="Put copies of the images there, to draw on elsewhere.")] = None,
    values: Annotated[
        str, typer.Option(help="With --masks: what each class is in them (0,255), where it is not 0,1,2,...")
    ] = "",
    empty: Annotated[bool, typer.Option("--empty", help="With --masks: take masks that show nothing.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    as_json: AsJson = False,
) -> None:
    """Label one image after the other; every answer is on disk before the next image is shown."""
    from allograft.web.journal import read_rows

    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        msg = f'--classes "{classes}": expected at least two different names with commas between.'
        raise ConfigError(msg)
    rows = read_rows(questions, ("case", "path"))
    if images is not None:
        _hand_out(rows, images, as_json=as_json)
        return
    if masks is not None:
        _take_masks(rows, _Masks(masks, values, empty), out_file, names, as_json=as_json)
        return
    if values or empty:
        msg = "--values and --empty are about masks drawn elsewhere: name their folder with --masks."
        raise ConfigError(msg)
    _serve(rows, out_file, names, port=port, browser=browser, as_json=as_json)


def _serve(
    rows: list[dict[str, str]], out_file: Path, names: tuple[str, ...], *, port: int, browser: bool, as_json: bool
) -> None:
    import webbrowser

    from allograft.web.journal import Journal
    from allograft.web.labelling import LabelServer

    journal = Journal(out_file, rows, names)
    server = LabelServer(journal, port=port)
    try:
        if as_json:
            emit_json({"url": server.url, "questions": len(rows), "labels": str(out_file)})
        out.print(f"{server.url}\nThe address is for this machine and this session only. Ctrl+C ends.", markup=False)
        if browser:
            webbrowser.open(server.url)
        server.serve_forever()
    except KeyboardInterrupt:
        given = sum(bool(text) for text in journal.labels.values())
        err.print(f"{given} of {len(rows)} labelled: {out_file}", markup=False)
    finally:
        server.server_close()
        journal.close()


def _hand_out(rows: list[dict[str, str]], folder: Path, *, as_json: bool) -> None:
    """Copy the images, and say how they come back."""
    from allograft.web.hand_out import hand_out

    made = hand_out(rows, folder)
    if as_json:
        emit_json({"images": [str(path) for path in made]})
        return
    out.print(
        f"{len(made)} images: {folder}. They are as private as the originals. Save each mask under its image's name "
        "(_seg behind it, if you like) in a folder of their own, and take them over with --masks.",
        markup=False,
    )


def _take_masks(
    rows: list[dict[str, str]], asked: _Masks, out_file: Path, names: tuple[str, ...], *, as_json: bool
) -> None:
    """Check the masks, take them over, and say which questions are open."""
    from allograft.web.take_masks import take_masks

    taken = take_masks(rows, asked.folder, out_file, names, values=_numbers(asked.values, names), empty=asked.empty)
    if as_json:
        cases = {key: list(getattr(taken, key)) for key in ("new", "changed", "known", "open")}
        emit_json({"labels": str(out_file), **cases, "others": [str(path) for path in taken.others]})
        return
    out.print(
        f"{len(taken.new)} masks checked on the grids of their images and taken over: {out_file}. "
        f"{len(taken.changed)} changed, {len(taken.known)} were there already, {len(taken.open)} are open.",
        markup=False,
    )
    for case in taken.open:
        err.print(f"no mask yet: {case}", markup=False)
    for path in taken.others:
        err.print(f"belongs to none of the cases: {path}", markup=False)


def _numbers(values: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the value of each class in the masks; none where nothing is said."""
    parts = [part.strip() for part in values.split(",") if part.strip()]
    if not parts:
        return ()
    if len(set(parts)) != len(names) or not all(part.isdecimal() for part in parts):
        msg = f'--values "{values}": expected a different whole number for each of {", ".join(names)}, with commas.'
        raise ConfigError(msg)
    return tuple(int(part) for part in parts)
