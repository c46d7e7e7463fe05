"""allograft weights: the weight cards that come with allograft."""

from __future__ import annotations

from typing import Annotated

import typer

from allograft.cli.console import AsJson, as_rows, emit_json, out, table
from allograft.core.errors import ConfigError, did_you_mean

__all__ = ["app"]

app = typer.Typer(help="Weight cards: where weights come from and what they expect.", no_args_is_help=True)


@app.command("list")
def list_cards(as_json: AsJson = False) -> None:
    """List the cards with encoder, licence and what the weights have seen."""
    from allograft.weights.source import cards

    found = list(cards().values())
    if as_json:
        emit_json({"weights": [card.model_dump(mode="json") for card in found]})
        return
    rows = [(c.name, c.encoder, c.license, ", ".join(c.seen), c.reference.short()) for c in found]
    table("weights", ("name", "encoder", "licence", "has seen", "paper"), rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A card's name.")],
    as_json: AsJson = False,
) -> None:
    """Show one card: origin, licence, hash, input contract and key map."""
    from allograft.weights.source import cards

    known = cards()
    if name not in known:
        msg = f'no weight card "{name}". {did_you_mean(name, known)}'
        raise ConfigError(msg)
    data = known[name].model_dump(mode="json")
    if as_json:
        emit_json(data)
        return
    table(known[name].title, ("field", "value"), as_rows(data))
    out.print(known[name].reference.bibtex(), markup=False)
