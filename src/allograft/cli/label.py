"""allograft label: a local page where a person labels images with the keyboard, or masks drawn elsewhere taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson, emit_json, err, out
from allograft.core.errors import ConfigError

__all__ = ["label"]


def label(
    questions: Annotated[
        Path, typer.Argument(metavar="TO_LABEL.csv", help="As `allograft select` or a study writes it.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="The table of labels; what it holds is kept.")],
    classes: Annotated[str, typer.Option(help="Names of the classes, with commas between; of masks by value.")],
    masks: Annotated[Path | None, typer.Option(help="A folder of masks drawn elsewhere, in place of the page.")] = None,
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
    if masks is not None:
        _import_masks(rows, masks, out_file, names, as_json=as_json)
        return
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


def _import_masks(
    rows: list[dict[str, str]], folder: Path, out_file: Path, names: tuple[str, ...], *, as_json: bool
) -> None:
    """Check the masks and write where they lie."""
    from allograft.core.atomic import write_text
    from allograft.data.case import ImageRef
    from allograft.data.drawn_masks import drawn_masks
    from allograft.study.desk import ASKED_COLUMNS, table

    images = {
        row["case"]: ImageRef(Path(row["path"]), row.get("key", ""), int(row["row"]) if row.get("row") else None)
        for row in rows
    }
    found = drawn_masks(folder, images, names)
    made = [{**row, "mask": str(found.masks[row["case"]].resolve())} for row in rows if row["case"] in found.masks]
    write_text(out_file, table((*ASKED_COLUMNS, "mask"), made))
    if as_json:
        others = [str(path) for path in found.others]
        emit_json({"labels": str(out_file), "masks": len(made), "missing": list(found.missing), "others": others})
        return
    out.print(f"{len(made)} masks checked on the grids of their images: {out_file}", markup=False)
    for case in found.missing:
        err.print(f"no mask yet: {case}", markup=False)
    for path in found.others:
        err.print(f"belongs to none of the cases: {path}", markup=False)
