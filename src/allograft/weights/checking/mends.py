"""Mends: known ways in which a file and a card miss each other; each is tried, none is guessed.

These are the mends of names and shapes. From the card as it is, every mend is tried and the one that brings most
numbers to the encoder is kept, until all arrive or none helps; so faults that come together (a container, a prefix
and a head) are undone one by one. A mend is a change of the card, to be written there by whoever trusts it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

from allograft.core.errors import PlanError
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import Cause
from allograft.weights.reading.files import TensorFile
from allograft.weights.source import SourceWeights
from allograft.weights.suggest import drop_patterns

__all__ = ["Arrival", "Mend", "Path", "arrive", "is_averaged", "mended", "single_mends"]

Lines = tuple[tuple[str, str | None], ...]
Shapes = Mapping[str, tuple[int, ...]]

_ROUNDS = 6
_AVERAGED = ("ema", "teacher", "average", "avg", "swa", "shadow", "momentum", "encoder_k", "target")
_OTHER_NAMES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        (r"(.+\.|)gamma", r"\1weight"),
        (r"(.+\.|)beta", r"\1bias"),
        (r"(.+\.|)moving_mean", r"\1running_mean"),
        (r"(.+\.|)moving_variance", r"\1running_var"),
    ),
    ((r"(.+\.|)scale", r"\1weight"), (r"(.+\.|)offset", r"\1bias")),
    ((r"(.+\.|)kernel", r"\1weight"),),
)


class Mend(NamedTuple):
    """A change of a card: the cause that it undoes, in words, and the card with it."""

    cause: Cause
    words: str
    card: WeightSource


class Arrival(NamedTuple):
    """How much of an encoder a file gives under a card.

    Args:
        card: the card.
        source: the file under that card, None where its names collide.
        share: of the encoder's numbers that fit by name and shape, in [0, 1].
        stray: tensors of the file that have no place in the encoder, by their names in the file.
    """

    card: WeightSource
    source: SourceWeights | None
    share: float
    stray: tuple[str, ...]

    @property
    def rank(self) -> tuple[float, int]:
        """More numbers first, then fewer strays."""
        return (self.share, -len(self.stray))

    @property
    def complete(self) -> bool:
        """Whether everything arrived and nothing was left over."""
        return self.share == 1.0 and not self.stray


def arrive(card: WeightSource, places: Mapping[str, TensorFile], wanted: Shapes) -> Arrival:
    """Judge one card by names and shapes.

    Args:
        card: the card.
        places: the file's containers.
        wanted: names and shapes of the encoder's tensors, without counters.
    """
    tensors = places.get(card.container)
    if tensors is None:
        return Arrival(card, None, 0.0, ())
    try:
        source = SourceWeights(card, tensors)
    except (PlanError, ValueError):
        return Arrival(card, None, 0.0, ())
    got = sum(_size(shape) for name, shape in wanted.items() if source.shapes.get(name) == shape)
    total = sum(map(_size, wanted.values()))
    return Arrival(card, source, got / total if total else 0.0, _strays(source, wanted))


class Path(NamedTuple):
    """Where mends lead.

    Args:
        end: the best that was reached.
        steps: the mends that led there, in order.
        forks: mends that bring as much at a step as the one that was taken; shapes cannot choose between them.
        tried: how many were tried, by cause, with the best share that each cause reached.
    """

    end: Arrival
    steps: tuple[Mend, ...]
    forks: tuple[Arrival, ...]
    tried: Mapping[Cause, float]


def mended(start: Arrival, places: Mapping[str, TensorFile], wanted: Shapes) -> Path:
    """Return the best that mends reach from a card."""
    best, steps, forks = start, list[Mend](), list[Arrival]()
    shares: dict[Cause, float] = {}
    for _ in range(_ROUNDS):
        tried = [(arrive(mend.card, places, wanted), mend) for mend in single_mends(best, places, wanted)]
        for got, mend in tried:
            shares[mend.cause] = max(got.share, shares.get(mend.cause, 0.0))
        reached = max(tried, key=lambda each: each[0].rank, default=None)
        found = best if reached is None else reached[0]
        taken = not best.complete and reached is not None and found.rank > best.rank
        level = found if taken else best
        forks += [got for got, _ in tried if got is not level and got.share == level.share and got.share > 0]
        if not taken or reached is None:
            break
        best, steps = found, [*steps, reached[1]]
    return Path(best, tuple(steps), tuple(forks), shares)


def single_mends(at: Arrival, places: Mapping[str, TensorFile], wanted: Shapes) -> Iterator[Mend]:
    """Yield every known mend of a card, one change each."""
    yield from _containers(at.card, places)
    if at.card.container not in places:
        return
    raw = places[at.card.container]
    yield from _prefixes(at, raw, wanted)
    other = "channels_last" if at.card.layout == "torch" else "torch"
    yield Mend("layout", f"layout: {other}", at.card.model_copy(update={"layout": other}))
    if at.source is None:
        return
    yield from _renamed(at)
    if at.share > 0 and at.stray and not _inside(at, wanted):
        known = [at.source.file_name(name) for name in wanted if name in at.source]
        lines: Lines = tuple((pattern, None) for pattern in drop_patterns(at.stray, known))
        words = "key_map: " + ", ".join(f'("{pattern}", null)' for pattern, _ in lines[:4])
        yield Mend("head_kept", words, _with_lines(at.card, (*lines, *at.card.key_map)))


def _inside(at: Arrival, wanted: Shapes) -> bool:
    """Tell whether a stray lies in a part that the encoder has: that is another network, no head."""
    assert at.source is not None, "checked before"
    deep = 1 if len({name.split(".")[0] for name in wanted}) > 1 else 2
    parts = {tuple(name.split(".")[:deep]) for name in wanted}
    stray = set(at.stray)
    return any(tuple(name.split(".")[:deep]) in parts for name in at.source if at.source.file_name(name) in stray)


def _containers(card: WeightSource, places: Mapping[str, TensorFile]) -> Iterator[Mend]:
    for name in places:
        if name != card.container:
            averaged = is_averaged(name) != is_averaged(card.container)
            cause: Cause = "averaged_weights" if averaged and card.container in places else "container"
            yield Mend(cause, f'container: "{name}"', card.model_copy(update={"container": name}))


def is_averaged(name: str) -> bool:
    """Tell whether a container's name says that its weights are averaged over training."""
    return any(word in name.lower() for word in _AVERAGED)


def _prefixes(at: Arrival, raw: TensorFile, wanted: Shapes) -> Iterator[Mend]:
    """Strip a prefix of the file, undo one that the card strips, or add one that the encoder has."""
    for prefix in _leading(raw.shapes):
        lines = _behind(prefix, at.card.key_map)
        yield Mend("prefix", f'key_map: ("{re.escape(prefix)}(.+)", "\\1")', _with_lines(at.card, lines))
    for prefix in dict.fromkeys(_literal(pattern) for pattern, _ in at.card.key_map):
        if prefix and not any(name.startswith(prefix) for name in raw.shapes):
            lines = tuple((_without(prefix, pattern), template) for pattern, template in at.card.key_map)
            kept = tuple(line for line in lines if line[0] not in {"", "(.+)", ".+"})
            yield Mend("prefix", f'key_map: names do not begin with "{prefix}"', _with_lines(at.card, kept))
    if at.source is not None:
        for prefix in _leading(wanted):
            if not any(name.startswith(prefix) for name in at.source):
                line = (f"(?!{re.escape(prefix)})(.+)", rf"{prefix}\1")
                yield Mend(
                    "prefix", f'key_map: ("{line[0]}", "{line[1]}")', _with_lines(at.card, (*at.card.key_map, line))
                )


def _leading(names: Mapping[str, object]) -> list[str]:
    """Return the dotted beginnings, up to four parts, that a good share of the names have."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[:-1]
        counts.update(".".join(parts[: i + 1]) + "." for i in range(min(4, len(parts))))
    return [prefix for prefix, count in counts.most_common(40) if count >= 0.15 * len(names) and count > 1]


def _behind(prefix: str, lines: Lines) -> Lines:
    """Return a key map that strips `prefix` first and then does what the lines do."""
    moved = tuple((re.escape(prefix) + (f"(?:{p})" if "|" in p else p), template) for p, template in lines)
    return (*moved, (re.escape(prefix) + "(.+)", r"\1"))


def _literal(pattern: str) -> str:
    r"""Return the literal prefix "module." that a pattern begins with; "" where it begins otherwise."""
    found = re.match(r"((?:\w+\\\.)+)", pattern)
    return found[1].replace("\\.", ".") if found else ""


def _without(prefix: str, pattern: str) -> str:
    return pattern.removeprefix(prefix.replace(".", "\\."))


def _renamed(at: Arrival) -> Iterator[Mend]:
    """Names of other libraries, and the convolutions of a block counted otherwise."""
    source = at.source
    assert source is not None, "checked before"
    for family in _OTHER_NAMES:
        if any(re.fullmatch(pattern, name) for pattern, _ in family for name in source):
            yield Mend("tensor_names", f"key_map: {_shown(family)}", _edited(at, family))
    most = 3 if any(re.fullmatch(r".+\.\d+\.conv3\.weight", name) for name in source) else 2
    for order in permutations(range(1, most + 1)):
        if order == tuple(range(1, most + 1)):
            continue
        family = tuple(
            (rf"(.+\.\d+\.){kind}{i}\.(.+)", rf"\g<1>{kind}{j}.\2")
            for kind in ("conv", "bn")
            for i, j in enumerate(order, start=1)
            if i != j
        )
        words = "the file's convolutions 1, 2, ... of a block are " + ", ".join(map(str, order))
        yield Mend("bottleneck_order", f"key_map: {words}: {_shown(family)}", _edited(at, family))


def _shown(family: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f'("{pattern}", "{template}")' for pattern, template in family)


def _edited(at: Arrival, family: tuple[tuple[str, str], ...]) -> WeightSource:
    """Return the card with lines that rename as the family does, behind the prefix that its lines strip."""
    source = at.source
    assert source is not None, "checked before"
    cut = Counter(old[: -len(new)] for new in source if (old := source.file_name(new)).endswith(new))
    prefix = cut.most_common(1)[0][0] if cut else ""
    return _with_lines(at.card, (*((re.escape(prefix) + p, t) for p, t in family), *at.card.key_map))


def _with_lines(card: WeightSource, lines: Lines) -> WeightSource:
    return card.model_copy(update={"key_map": lines})


def _strays(source: SourceWeights, wanted: Shapes) -> tuple[str, ...]:
    """Return the file's names of tensors that the encoder has no place for; heads and decoders have their own."""
    return tuple(
        source.file_name(name)
        for name in source
        if name not in wanted and not name.startswith(("decoder.", "heads.")) and source.dtypes[name].is_floating_point
    )


def _size(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out
