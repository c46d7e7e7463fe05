"""allograft demo: a small study on real images or volumes under real weights, in minutes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson
from allograft.cli.study import study
from allograft.core.atomic import write_text
from allograft.core.errors import ConfigError

__all__ = ["demo"]


DEMOS = {"images": "demo.yaml", "volumes": "demo_volumes.yaml"}


def demo(
    what: Annotated[str, typer.Argument(metavar="[images|volumes]", help="What to show.")] = "images",
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the study file, runs, results and report.")] = Path(
        "demo"
    ),
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes one for each core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare ways to transfer real weights: to histology patches, or to brain volumes; prints the report's path."""
    if what not in DEMOS:
        msg = f'no demo "{what}": expected {" or ".join(DEMOS)}.'
        raise ConfigError(msg)
    text = files("allograft.cli").joinpath(DEMOS[what]).read_text(encoding="utf-8")
    file = out_dir.parent / f"{out_dir.name}.yaml" if out_dir.name else Path("demo.yaml")
    write_text(file, text)
    study(file, out_dir, workers=workers, as_json=as_json)
