"""Sources: from the name in a recipe to opened weights, licence accepted and hash checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from allograft.core.errors import ConfigError, did_you_mean
from allograft.data.origins import resolve
from allograft.weights.source import SourceWeights, WeightSource, cards, file_sha256, read_card

__all__ = ["find_card", "open_source", "require_licence"]


def find_card(name: str, base: Path = Path()) -> WeightSource:
    """Return the card called `name`, or read the card's file or a finished run's card.

    Args:
        name: a packaged card, a path to a card's YAML, or the folder of a finished run.
        base: folder that relative paths start from, the study file's.

    Raises:
        ConfigError: nothing by that name, with the nearest known one.
    """
    known = cards()
    if name in known:
        return known[name]
    path = (base / name).resolve()
    for folder in (path, path / "model"):
        if (folder / "card.yaml").exists():
            return _run_card(folder)
    if path.suffix in {".yaml", ".yml"} and path.exists():
        card = read_card(path)
        scheme, _, file = card.origin.partition(":")
        return card.model_copy(update={"origin": f"file:{path.parent / file}"}) if scheme == "file" else card
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


def _run_card(folder: Path) -> WeightSource:
    """Return the card of a finished run; its file is where the run lies now, and is named by its content."""
    card = read_card(folder / "card.yaml")
    origin = f"run:{folder}"
    return card.model_copy(update={"origin": origin, "sha256": file_sha256(resolve(origin))})


def open_source(name: str, base: Path = Path()) -> SourceWeights:
    """Fetch (or find in the cache), check and open the weights called `name`; kept open in this process."""
    return _opened(find_card(name, base).model_dump_json())


@lru_cache(maxsize=4)
def _opened(text: str) -> SourceWeights:
    card = WeightSource.model_validate_json(text)
    return SourceWeights.open(card, resolve(card.origin, sha256=card.sha256))
