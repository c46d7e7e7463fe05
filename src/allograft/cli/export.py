"""allograft export: a study's winner or a run's network as a folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AsJson, emit_json, out

__all__ = ["export"]


def export(
    networks: Annotated[Path, typer.Argument(metavar="DIR_OR_RUN", help="A study's folder (its winner), or a run's.")],
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for the export.")],
    form: Annotated[str, typer.Option("--format", help="bundle (MONAI), onnx or openvino.")] = "bundle",
    member: Annotated[int | None, typer.Option(min=0, help="Only this network of the winner's, from 0.")] = None,
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export trained networks with a model card; what is exported is checked before the folder is there."""
    from allograft.study.hand_over import hand_over

    found = hand_over(networks, form, out_dir, member=member, dataset=dataset, force=force)
    if as_json:
        emit_json(found.model_dump(mode="json"))
        return
    out.print(found.said, markup=False)
    for line in found.checked:
        out.print(line, markup=False)
    out.print(f"export: {found.folder} ({found.form}, {len(found.runs)} network(s)); read MODEL_CARD.md", markup=False)
