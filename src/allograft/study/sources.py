"""Sources: from the name in a recipe to opened weights, licence accepted and hash checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from allograft.core.errors import ConfigError, did_you_mean
from allograft.data.origins import resolve
from allograft.weights.source import SourceWeights, WeightSource, cards, read_card

__all__ = ["find_card", "open_source", "require_licence"]


def find_card(name: str) -> WeightSource:
    """Return the card called `name`, or read the card's file or a finished run's card.

    Args:
        name: a packaged card, a path to a card's YAML, or the folder of a finished run.

    Raises:
        ConfigError: nothing by that name, with the nearest known one.
    """
    known = cards()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_dir() and (path / "card.yaml").exists():
        return read_card(path / "card.yaml")
    if path.suffix in {".yaml", ".yml"} and path.exists():
        return read_card(path)
    msg = f'source "{name}": no card of that name, no card file, no finished run there. {did_you_mean(name, known)}'
    raise ConfigError(msg)


def require_licence(card: WeightSource, accepted: Iterable[str]) -> None:
    """Refuse non-commercial weights that the user has not accepted.

    Raises:
        ConfigError: the card's licence forbids commercial use and is not in `accepted`.
    """
    if not card.commercial and card.name not in set(accepted):
        msg = (
            f'source "{card.name}" is under {card.license}, which forbids commercial use. If that suits you, '
            f"say so in the study file: accept_licence: [{card.name}]"
        )
        raise ConfigError(msg)


@lru_cache(maxsize=4)
def open_source(name: str) -> SourceWeights:
    """Fetch (or find in the cache), check and open the weights called `name`."""
    card = find_card(name)
    return SourceWeights.open(card, resolve(card.origin, sha256=card.sha256))
