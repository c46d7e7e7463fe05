"""Write docs/reference/weights.md: every packaged weight card in one table, from the cards themselves.

Run by `make docs`: python docs/make_cards.py [OUT], OUT being docs/reference/weights.md by default.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from allograft.weights.card import WeightSource, cards

INTRO = """# Weight cards

Written from the cards by `docs/make_cards.py`. `allograft weights show NAME` shows one whole, with its key map.
Licences are those that the publishers state; comments in the card's file say what could not be verified. The terms of
the data that weights were trained on may apply as well. *By hand* means that a form, a shared folder or a conversion
stands between: get the file as the table says and put it, under the name in the card's origin (`hand:NAME`), into the
folder that `ALLOGRAFT_WHEELHOUSE` names.
Any pretrained network of timm is a card too, by its name: `source: "timm:resnet50.a1_in1k"`.

| Name | What | Encoder | Licence | Commercial use | Has seen | File |
|---|---|---|---|---|---|---|
"""

log = logging.getLogger("make_cards")


def row(card: WeightSource) -> str:
    """Return a card's line of the table."""
    how = f"by hand: {card.get}" if card.by_hand else f"fetched ({card.origin.partition(':')[0]})"
    cells = (
        f"`{card.name}`",
        f"{card.title} ({card.reference.short()})",
        f"`{card.encoder}`, {card.dims}-D",
        card.license,
        "allowed" if card.commercial else "not allowed",
        ", ".join(card.seen),
        how,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    """Return the page in Markdown."""
    return INTRO + "".join(row(card) for card in cards().values())


def main() -> None:
    """Write the page where the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference" / "weights.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(), encoding="utf-8")
    log.info("%d weight cards in %s", len(cards()), out)


if __name__ == "__main__":
    main()
