"""check_file: judge any file of weights, with what the catalog and the cards know of networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from allograft import catalog
from allograft.core.errors import ConfigError, PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.nets.encoders.cut import cut
from allograft.study.sources import find_card, open_source
from allograft.weights.card import WeightSource, cards
from allograft.weights.checking.check import Check, check
from allograft.weights.checking.identify import Guess, identify
from allograft.weights.checking.mends import arrive, is_averaged, mended
from allograft.weights.checking.opening import Opened, open_content
from allograft.weights.coverage import Thresholds, wanted
from allograft.weights.fingerprint import Fingerprint, fingerprint, probe_shape
from allograft.weights.reading.contents import FileContent
from allograft.weights.reference import fill
from allograft.weights.source import SourceWeights, file_sha256

__all__ = ["Asked", "build_encoder", "check_file", "take_fingerprint"]

_BENIGN = {"container", "head_kept"}


class Asked(NamedTuple):
    """What the asker says of a file beside its card; None leaves it open.

    Args:
        net: catalog name of the encoder.
        dims: 2 or 3.
        in_channels: of the encoder.
        width: multiple of its channel counts.
        container: dotted path to the tensors inside the file.
    """

    net: str | None = None
    dims: int | None = None
    in_channels: int | None = None
    width: float | None = None
    container: str | None = None


def check_file(
    path: Path,
    card: str | WeightSource | None = None,
    asked: Asked = Asked(),  # noqa: B008 - immutable
    *,
    like: str | SourceWeights | None = None,
    least: Thresholds | None = None,
    base: Path = Path(),
) -> Check:
    """Judge a file of weights.

    Args:
        path: the file.
        card: a card, its name or its file; None drafts one from the names and shapes in the file.
        asked: what the asker says beside.
        like: weights that are known to be right: a card's name or file, a run's folder, a file, an opened source.
        least: what must be reached.
        base: folder that relative names start from.

    Raises:
        ConfigError: no such card or network, or the card names another dimension than the network has.
        PlanError: `like` cannot be opened.
    """
    opened = open_content(path)
    known = find_card(card, base) if isinstance(card, str) else card
    if known is None and opened.content is not None:
        known = _by_hash(path) if asked == Asked() else None
    if known is None:
        known = _draft(path, opened.content, asked)
        if known is None:
            return _unknown(path, opened)
    else:
        known = _changed(known, asked)
    trusted = _trusted(like, known, base) if isinstance(like, str) else like
    return check(path, known, build_encoder, like=trusted, least=least, opened=opened)


def take_fingerprint(path: Path, card: WeightSource) -> Fingerprint:
    """Return the fingerprint of a card's encoder with a file's weights, which the caller trusts.

    Raises:
        PlanError: the file does not fit the card as it stands.
    """
    source = SourceWeights.open(card, path)
    shape = probe_shape(card.expects.channels, card.dims, card.expects.size)
    return fingerprint(fill(source, build_encoder(card)), shape)


def build_encoder(card: WeightSource) -> nn.Module:
    """Build the encoder that a card names; torch's random state is left as it was.

    Raises:
        ConfigError: there is none of that name, or it has no such form.
    """
    build = catalog.encoder_factory(card.encoder)
    with torch.random.fork_rng(devices=[]):
        whole = build(dims=card.dims, in_channels=card.expects.channels, width=card.width, drop_path=0.0)
    return cut(whole, card.until) if card.until else whole


def _by_hash(path: Path) -> WeightSource | None:
    """Return the packaged card whose file this is."""
    if path.is_dir():
        return None
    got = file_sha256(path)
    return next((card for card in cards().values() if card.sha256 and got.startswith(card.sha256)), None)


def _changed(card: WeightSource, asked: Asked) -> WeightSource:
    """Return the card with what the asker says put over it."""
    changes: dict[str, Any] = {"encoder": asked.net, "dims": asked.dims, "width": asked.width}
    changes = {key: value for key, value in changes.items() if value is not None}
    if asked.in_channels is not None:
        changes["expects"] = card.expects.for_channels(asked.in_channels)
    if asked.container is not None:
        changes["container"] = asked.container
    return card.model_copy(update=changes)


def _draft(path: Path, content: FileContent | None, asked: Asked) -> WeightSource | None:
    """Write a card for a file that has none; container and heads are taken as they lie, names are not changed."""
    guess, place = _best_guess(content, asked)
    if guess is None and asked.net is None:
        return None
    dims = asked.dims or (guess.dims if guess else 2)
    known: Literal[2, 3] = 3 if dims == 3 else 2
    channels = asked.in_channels or (guess.in_channels if guess else 3)
    net = asked.net or (guess.encoder if guess else "")
    card = WeightSource(
        name=path.stem,
        title=f"{path.name}, without a card",
        origin=f"file:{path}",
        license="not known",
        commercial=False,
        reference=Reference(title="not known"),
        encoder=net,
        dims=known,
        width=asked.width or (guess.width if guess else 1.0),
        expects=InputSpec(channels=channels, axes="DHW" if known == 3 else "HW"),
        key_map=((r"(?!model\.)(.+)", r"model.\1"),) if net.startswith("timm") else (),
        container=asked.container if asked.container is not None else place,
    )
    return card if content is None else _settled(card, content)


def _settled(card: WeightSource, content: FileContent) -> WeightSource:
    """Take over what is no fault where no card claims otherwise: the container, and heads that are dropped."""
    with torch.device("meta"):
        needed = wanted(build_encoder(card))
    way = mended(arrive(card, content.containers, needed), content.containers, needed)
    benign = all(step.cause in _BENIGN for step in way.steps)
    return (
        way.end.card if benign and way.end.complete else card.model_copy(update={"container": way.end.card.container})
    )


def _best_guess(content: FileContent | None, asked: Asked) -> tuple[Guess | None, str]:
    """Return what a file looks like and where in it; averaged weights only where there are no others."""
    if content is None:
        return None, ""
    given = asked.container
    names = [given] if given is not None and given in content.containers else list(content.containers)
    for name in sorted(names, key=is_averaged):
        if found := identify(content.containers[name].shapes):
            return found[0], name
    return None, names[0] if names else ""


def _unknown(path: Path, opened: Opened) -> Check:
    """Answer for a file whose network is not known."""
    if opened.content is None:
        return Check(ok=False, cause=opened.cause, why=opened.text, file=str(path))
    text = "its names resemble no network that is known here. Say which it is (--net, --card)."
    found = opened.content
    return Check(ok=False, cause="wrong_network", why=text, file=str(path), format=found.format)


def _trusted(name: str, card: WeightSource, base: Path) -> SourceWeights:
    """Open weights that are known to be right; a bare file is read as the card says, prefix and container aside."""
    path = base / name
    if not path.is_file() or path.suffix in {".yaml", ".yml"}:
        return open_source(name, base)
    opened = open_content(path)
    if opened.content is None:
        raise PlanError(opened.text)
    plain = card.model_copy(update={"sha256": "", "fingerprint": None, "name": path.name})
    with torch.device("meta"):
        needed = wanted(build_encoder(plain))
    places = opened.content.containers
    end = mended(arrive(plain, places, needed), places, needed).end
    if not end.complete or end.source is None:
        msg = f'{path}: does not fit "{card.encoder}", so it cannot show what the file should compute.'
        raise ConfigError(msg)
    return end.source
