"""allograft weights: the weight cards that come with allograft."""

from __future__ import annotations

from typing import Annotated

import typer

from allograft.cli.console import AsJson, as_rows, emit_json, out, table
from allograft.cli.weights_check import check, fingerprint
from allograft.cli.weights_import import import_file

__all__ = ["app"]

app = typer.Typer(help="Weight cards: where weights come from and what they expect.", no_args_is_help=True)
app.command()(check)
app.command()(fingerprint)
app.command("import")(import_file)


@app.command("list")
def list_cards(as_json: AsJson = False) -> None:
    """List the cards: licence, whether it allows commercial use, how the file is got, what the weights have seen."""
    from allograft.weights.contamination import licence_words
    from allograft.weights.source import cards

    found = list(cards().values())
    if as_json:
        emit_json({"weights": [card.model_dump(mode="json") for card in found]})
        return
    rows = [
        (c.name, c.encoder, licence_words(c), "by hand" if c.by_hand else "fetched", ", ".join(c.seen)) for c in found
    ]
    table("weights", ("name", "encoder", "licence", "file", "has seen"), rows)
    out.print('Any pretrained network of timm is a card too: "timm:NAME", e.g. timm:resnet50.a1_in1k.', markup=False)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A card's name, or timm:NAME.")],
    as_json: AsJson = False,
) -> None:
    """Show one card: origin, licence, hash, input contract and key map."""
    from allograft.weights.source import card_named

    card = card_named(name)
    data = card.model_dump(mode="json")
    if as_json:
        emit_json(data)
        return
    table(card.title, ("field", "value"), as_rows(data))
    out.print(card.reference.bibtex(), markup=False)
