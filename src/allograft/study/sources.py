"""Sources: from the name in a recipe to opened weights, licence accepted and hash checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from allograft.core.errors import ConfigError, did_you_mean
from allograft.data.origins import Unreachable, resolve
from allograft.weights.source import SourceWeights, WeightSource, card_named, cards, file_sha256, read_card

__all__ = ["find_card", "open_source", "require_licence"]


def find_card(name: str, base: Path = Path()) -> WeightSource:
    """Return the card called `name`, or read the card's file or a finished run's card.

    Args:
        name: a packaged card, "timm:NAME", a path to a card's YAML or to the .safetensors that it lies beside (as
            `allograft weights import` writes them), or the folder of a finished run.
        base: folder that relative paths start from, the study file's.

    Raises:
        ConfigError: nothing by that name, with the nearest known one.
    """
    known = cards()
    if name in known or name.startswith("timm:"):
        return card_named(name)
    path = (base / name).resolve()
    for folder in (path, path / "model"):
        if (folder / "card.yaml").exists():
            return _run_card(folder)
    if path.suffix == ".safetensors" and path.exists():
        path = _beside(path)
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
            f'source "{card.name}" is under {card.license}, which forbids commercial use. If that suits you, say so: '
            f"--accept-licence {card.name}, or in the study file accept_licence: [{card.name}]"
        )
        raise ConfigError(msg)


def _beside(tensors: Path) -> Path:
    """Return the card beside a file of tensors."""
    card = tensors.with_suffix(".yaml")
    if not card.exists():
        msg = (
            f"{tensors}: there is no card {card.name} beside it. Write one: allograft weights import {tensors} "
            f"--as CARD --out NEW.safetensors, with a card of allograft weights list."
        )
        raise ConfigError(msg)
    return card


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
    # Files that lie here are hashed once, when they are opened.
    local = card.origin.startswith(("file:", "run:"))
    try:
        path = resolve(card.origin, sha256="" if local else card.sha256)
    except Unreachable as error:
        how = f" How to get it: {card.get}" if card.get else ""
        if card.by_hand:
            how += (
                f" Or, when you have it: allograft weights import FILE --as {card.name} --out {card.name}.safetensors, "
                f"and in the study source: {card.name}.safetensors"
            )
        raise Unreachable(f'source "{card.name}": {error}{how}') from error
    return SourceWeights.open(card, path)
