"""check: what a file of weights is, what of it fits, whether its function is proven, and what would mend it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from allograft.core.config import Config
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import CAUSES, Cause
from allograft.weights.checking.diagnose import Tried, health
from allograft.weights.checking.examine import (
    Builder,
    Case,
    Function,
    compute,
    fault_of_numbers,
    fault_of_shapes,
    only_states,
)
from allograft.weights.checking.identify import Guess
from allograft.weights.checking.mends import Path as MendPath
from allograft.weights.checking.mends import arrive, mended
from allograft.weights.checking.opening import Opened, open_content
from allograft.weights.coverage import Shares, StageShares, Thresholds, encoder_shares, stage_shares, wanted
from allograft.weights.plan import Unused
from allograft.weights.probe import ProbeRow
from allograft.weights.source import SourceWeights, file_sha256

__all__ = ["Check", "Lack", "check"]

PROVE = (
    "Nothing proves what it computes. Give weights that are known to be right (--like FILE, card or run), or a card "
    "with a fingerprint (allograft weights fingerprint, on a file that you trust)."
)


class Lack(Config):
    """A tensor of the encoder that gets no value.

    Args:
        name: in the encoder.
        shape: its shape.
        why: the reason.
        closest: name in the file that resembles it most, "" where none does.
    """

    name: str
    shape: tuple[int, ...]
    why: str
    closest: str = ""


class Check(Config):
    """What was found of a file.

    Args:
        ok: whether everything fits as the card says and the function is proven.
        cause: name of what is wrong, "" where nothing is.
        why: it in a sentence, with the numbers.
        file: the file.
        format: what it is.
        containers: places in it that hold tensors.
        refused: globals that it names and that were not executed.
        facts: what else it says.
        looks_like: what its tensors look like; encoders that shapes cannot tell apart are all named.
        card: name of the card it was judged by, "" where none was given.
        net: encoder it was judged for.
        container: place that was read.
        coverage: shares that arrive, with the mends that helped.
        stages: the same by stage.
        missing: the encoder's tensors without a value, each with its reason, as the card stands.
        unused: the file's tensors without a use, each with its reason.
        proof: "fingerprint" where the network computes what it should, "unproven" where nothing says what that is,
            "failed" where it does not.
        against: what says it.
        probe: by stage, how far its features are off.
        mends: what was tried, and what each gave.
        write: what to write into the card, where mends helped.
        thresholds: what had to be reached.
    """

    ok: bool
    cause: Cause
    why: str
    file: str
    format: str = ""
    containers: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    facts: Mapping[str, Any] = Field(default_factory=dict)
    looks_like: tuple[Guess, ...] = ()
    card: str = ""
    net: str = ""
    container: str = ""
    coverage: Shares = Shares()
    stages: tuple[StageShares, ...] = ()
    missing: tuple[Lack, ...] = ()
    unused: tuple[Unused, ...] = ()
    proof: Literal["fingerprint", "unproven", "failed"] = "unproven"
    against: str = ""
    probe: tuple[ProbeRow, ...] = ()
    mends: tuple[Tried, ...] = ()
    write: Mapping[str, Any] = Field(default_factory=dict)
    thresholds: Thresholds = Thresholds()


def check(
    path: Path,
    card: WeightSource,
    build: Builder,
    *,
    like: SourceWeights | None = None,
    least: Thresholds | None = None,
    opened: Opened | None = None,
) -> Check:
    """Judge a file by a card; nothing in it is executed and nothing is changed.

    Args:
        path: the file.
        card: what it is said to be.
        build: makes the encoder that a card names.
        like: weights that are known to be right; a fingerprint is taken of them.
        least: what must be reached.
        opened: the file's content, where it was read already.
    """
    opened = opened or open_content(path)
    least = least or Thresholds()
    if opened.content is None:
        return Check(ok=False, cause=opened.cause, why=opened.text, file=str(path), card=card.name, thresholds=least)
    places = opened.content.containers
    if only_states(places):
        text = "the tensors are an optimiser's state, not a network's weights. Get the file with the weights."
        return Check(ok=False, cause="not_weights", why=text, file=str(path), format=opened.content.format)
    if card.sha256 and not (got := file_sha256(path)).startswith(card.sha256):
        # What it computes needs no search: it is another file.
        bare = card.model_copy(update={"fingerprint": None})
        found = _judged(Case(bare, places, build, None, least), path, opened)
        text = f"SHA-256 expected {card.sha256}, got {got}: not the file of the card. Fetch it again."
        more = f" Besides: {found.why}" if found.cause not in {"", "unproven"} else ""
        return found.model_copy(update={"ok": False, "cause": "wrong_hash", "why": text + more, "proof": "failed"})
    return _judged(Case(card, places, build, like, least), path, opened)


def _judged(case: Case, path: Path, opened: Opened) -> Check:
    """Judge names and shapes, then numbers, then the function."""
    content = opened.content
    assert content is not None, "checked before"
    with torch.device("meta"):
        needed = wanted(case.build(case.card))
    start = arrive(case.card, case.places, needed)
    way = mended(start, case.places, needed)
    cause, why = fault_of_shapes(case, needed, start, way)
    source = way.end.source
    known: dict[str, Any] = {
        "file": str(path),
        "format": content.format,
        "containers": tuple(case.places),
        "refused": content.refused,
        "facts": dict(content.facts),
        "card": case.card.name,
        "net": case.card.encoder,
        "container": way.end.card.container,
        "missing": _missing(needed, start.source),
        "unused": _unused(start.source, needed),
        "thresholds": case.least,
        "mends": _tried(way),
        "write": _write(case.card, way.end.card),
    }
    if source is None:
        return Check(ok=False, cause=cause or "wrong_network", why=why, **known)
    with torch.device("meta"):
        meta = case.build(way.end.card)
    known |= {"coverage": encoder_shares(needed, source), "stages": stage_shares(meta, source)}
    if not way.end.complete:
        return Check(ok=False, cause=cause or "missing_tensors", why=why, proof="failed", **known)
    bad, text = fault_of_numbers(source, needed)
    if bad:
        return Check(ok=False, cause=bad, why=text, proof="failed", **known)
    return _proven(case, way, compute(case, way), (cause, why), known)


def _proven(case: Case, way: MendPath, function: Function, fault: tuple[Cause, str], known: dict[str, Any]) -> Check:
    """Put the verdict together."""
    cause, why = fault
    rows = tuple(
        ProbeRow(stage=stage, difference=gap if gap < float("inf") else None, judged=True)
        for stage, gap in function.differences.items()
    )
    known |= {"proof": function.proof, "against": function.against, "probe": rows}
    low = known["coverage"].below(case.least)
    if function.diagnosis is not None:
        return _failed(case, way, function, fault, known)
    if function.proof == "fingerprint" and way.steps:
        known["mends"] = tuple(t.model_copy(update={"proof": "fingerprint"}) if t.helped else t for t in known["mends"])
    if not cause and low:
        cause, why = "low_coverage", low
    if not cause and function.proof == "unproven":
        assert way.end.source is not None, "everything arrived"
        sick = health(way.end.source)
        cause, why = sick or ("unproven", PROVE)
    said = why or f"everything fits and computes what {function.against} says."
    return Check(ok=not cause, cause=cause, why=said, **known)


def _failed(case: Case, way: MendPath, function: Function, fault: tuple[Cause, str], known: dict[str, Any]) -> Check:
    """Name why the function is another, with what was tried."""
    found = function.diagnosis
    assert found is not None, "checked before"
    known["mends"] = (*known["mends"], *found.tried)
    known["write"] = {**known["write"], **_write(way.end.card, function.card)}
    for tried in found.tried:
        known["write"] = {**known["write"], **tried.change} if tried.helped else known["write"]
    text = f"It does not compute what {function.against} says. {found.text}"
    return Check(ok=False, cause=found.cause, why=f"{fault[1]} {text}".strip(), **known)


def _tried(way: MendPath) -> tuple[Tried, ...]:
    """Return the mends of names: those that helped, and by cause the best of the others."""
    done: list[Tried] = []
    before: WeightSource | None = None
    for step in way.steps:
        change = _write(before, step.card) if before else {}
        share = way.end.share if step is way.steps[-1] else 0.0
        done.append(
            Tried(cause=step.cause, words=step.words, change=change, coverage=share, helped=True, proof="unproven")
        )
        before = step.card
    helped = {step.cause for step in way.steps}
    rest = [
        Tried(cause=cause, words=CAUSES[cause], coverage=share, helped=False, proof="unproven")
        for cause, share in way.tried.items()
        if cause not in helped
    ]
    return (*done, *rest)


def _write(before: WeightSource | None, after: WeightSource) -> dict[str, Any]:
    """Return the fields in which two cards differ, as a card's file writes them."""
    if before is None:
        return {}
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {key: value for key, value in new.items() if old[key] != value}


def _missing(needed: Mapping[str, tuple[int, ...]], source: SourceWeights | None) -> tuple[Lack, ...]:
    """List the encoder's tensors that get no value as the card stands."""
    if source is None:
        return tuple(Lack(name=name, shape=shape, why="the card reads no tensors") for name, shape in needed.items())
    free = {name: shape for name, shape in source.shapes.items() if needed.get(name) != shape}
    return tuple(
        Lack(
            name=name,
            shape=shape,
            why=f"its shape in the file is {list(source.shapes[name])}"
            if name in source
            else "no such name in the file",
            closest=_closest(name, shape, free),
        )
        for name, shape in needed.items()
        if source.shapes.get(name) != shape
    )


def _closest(name: str, shape: tuple[int, ...], free: Mapping[str, tuple[int, ...]]) -> str:
    """Return the free name that shares most with `name`; those of its shape and its last word come first."""
    last = name.rsplit(".", 1)[-1]
    alike = [each for each in free if each.rsplit(".", 1)[-1] == last]
    pool = [each for each in alike if free[each] == shape] or alike or list(free)
    matcher = SequenceMatcher(b=name, autojunk=False)
    best, score = "", 0.4
    for each in pool[:60]:
        matcher.set_seq1(each)
        if matcher.quick_ratio() > score and (ratio := matcher.ratio()) > score:
            best, score = each, ratio
    return best


def _unused(source: SourceWeights | None, needed: Mapping[str, tuple[int, ...]]) -> tuple[Unused, ...]:
    """List the file's tensors that nothing takes as the card stands, each with its reason."""
    if source is None:
        return ()
    rest = []
    for name in source:
        if needed.get(name) == source.shapes[name] or name.endswith("num_batches_tracked"):
            continue
        why = "no such tensor in the encoder"
        if name in needed:
            why = f"its shape in the encoder is {list(needed[name])}"
        elif name.startswith(("heads.", "decoder.")):
            why = "belongs to a head or a decoder"
        rest.append(Unused(source=source.file_name(name), shape=source.shapes[name], why=why))
    return (*rest, *source.unmapped)
