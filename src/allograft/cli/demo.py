"""allograft demo: a small study on real images under real weights, in minutes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson
from allograft.cli.study import study
from allograft.core.atomic import write_text

__all__ = ["demo"]


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the study file, runs, results and report.")] = Path(
        "demo"
    ),
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes one for each core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare ways to transfer real ImageNet weights to real histology patches; prints the report's path."""
    text = files("allograft.cli").joinpath("demo.yaml").read_text(encoding="utf-8")
    file = out_dir.parent / f"{out_dir.name}.yaml" if out_dir.name else Path("demo.yaml")
    write_text(file, text)
    study(file, out_dir, workers=workers, as_json=as_json)
