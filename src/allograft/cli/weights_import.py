"""allograft weights import: any file of weights as a safetensors file with its card beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allograft.cli.console import AcceptLicence, AsJson, emit_json, out

__all__ = ["import_file"]


def import_file(
    file: Annotated[Path, typer.Argument(help="The file or folder of weights, of any format that is known.")],
    card: Annotated[str, typer.Option("--as", metavar="CARD", help="A card's name or file, or timm:NAME.")],
    to: Annotated[Path, typer.Option("--out", metavar="X.safetensors", help="New file; its card X.yaml goes beside.")],
    container: Annotated[str | None, typer.Option(help='Where the tensors lie in the file: "state_dict".')] = None,
    accept_licence: AcceptLicence = None,
    as_json: AsJson = False,
) -> None:
    """Write the weights of a file as safetensors with a card; nothing is written where they do not arrive whole."""
    from allograft.study.import_weights import import_weights
    from allograft.study.sources import find_card, require_licence

    known = find_card(card, Path.cwd())
    require_licence(known, accept_licence or ())
    done = import_weights(file, known, to, container=container)
    if as_json:
        emit_json(done.model_dump(mode="json"))
        return
    share = done.coverage
    out.print(f"{done.file}: {done.tensors} tensors, {share.numbers:.1%} of the encoder's numbers", markup=False)
    out.print(f"{done.card}: card {done.name}, sha256 {done.sha256[:16]}, proof: {done.proof}", markup=False)
    if done.proof == "unproven":
        out.print("  The card had no fingerprint; the new one proves later copies, not this file.", markup=False)
    out.print(f'  In a study: source: "{done.file}"', markup=False)
