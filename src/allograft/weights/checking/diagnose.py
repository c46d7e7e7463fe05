"""Diagnose: why an encoder misses a fingerprint; every cause that is named was tried and made it fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import CAUSES, Cause
from allograft.weights.checking.variants import edits
from allograft.weights.fingerprint import TOLERANCE, Fingerprint, differences
from allograft.weights.source import SourceWeights

__all__ = ["Diagnosis", "Tried", "diagnose", "health"]

_NEAR = 0.1
_ALIKE = 0.9


class Tried(Config):
    """A mend that was tried.

    Args:
        cause: what it would undo.
        words: what it changes, as a card would say it where a card can.
        change: fields to write into the card; empty where the network must change instead.
        coverage: share of the encoder's numbers that arrive with it.
        difference: largest relative difference of a stage with it, None where nothing could be compared.
        helped: whether it is kept: it completes the coverage, or makes the fingerprint fit.
        proof: "fingerprint" where it does, "failed" where not, "unproven" where there is none.
    """

    cause: Cause
    words: str
    change: Mapping[str, Any] = Field(default_factory=dict)
    coverage: float
    difference: float | None = None
    helped: bool
    proof: Literal["fingerprint", "unproven", "failed"]


class Diagnosis(NamedTuple):
    """The cause, in words, and what was tried."""

    cause: Cause
    text: str
    tried: tuple[Tried, ...]


def diagnose(
    encoder: nn.Module,
    source: SourceWeights,
    expected: Fingerprint,
    *,
    siblings: Mapping[str, Callable[[], nn.Module]] | None = None,
    like: SourceWeights | None = None,
    tolerance: float = TOLERANCE,
) -> Diagnosis:
    """Find out why a loaded encoder misses a fingerprint.

    Args:
        encoder: the encoder with the source's tensors.
        source: the source.
        expected: the fingerprint that it misses.
        siblings: by catalog name: what returns another encoder that takes the same tensors, already loaded.
        like: weights that are known to be right, where there are any; tensors are compared with them.
        tolerance: largest relative difference that counts as equal.
    """
    sick = health(source)
    if sick is not None:
        return Diagnosis(sick[0], sick[1], ())
    tried: list[Tried] = []
    gaps = differences(encoder, expected)
    first = next((stage for stage, gap in gaps.items() if not gap <= tolerance), "")
    for edit in edits(encoder, source.card, first):
        copy = _copied(encoder)
        edit.act(copy)
        tried.append(_judged(copy, expected, tolerance, edit.cause, edit.words, edit.change))
        if tried[-1].helped:
            return Diagnosis(edit.cause, _found(tried[-1]), tuple(tried))
    for name, build in (siblings or {}).items():
        cause = _sibling_cause(source.card.encoder, name)
        tried.append(_judged(build(), expected, tolerance, cause, f"encoder: {name}", {"encoder": name}))
        if tried[-1].helped:
            return Diagnosis(cause, _found(tried[-1]), tuple(tried))
    cause, text = _rest(gaps, first, source, like)
    return Diagnosis(cause, text, tuple(tried))


def health(source: SourceWeights) -> tuple[Cause, str] | None:
    """Say which kernels are all 0, or that the statistics are those of a network that never saw an image."""
    kernels = [key for key in source if len(source.shapes[key]) >= 2 and source.dtypes[key].is_floating_point]
    dead = [source.file_name(key) for key in kernels if not bool(source.raw(key).any())]
    if dead:
        return "zero_tensors", f"{len(dead)} kernels are all 0, first {dead[0]}: a damaged or unfinished file."
    means = [key for key in source if key.endswith("running_mean")]
    variances = [key for key in source if key.endswith("running_var")]
    if not means or not variances:
        return None
    fresh = not any(bool(source.raw(key).any()) for key in means)
    if fresh and all(bool((source.raw(key) == 1).all()) for key in variances):
        text = "all running means are 0 and all variances 1: the network never saw an image, these are initial values."
        return "untrained", text
    return None


def _copied(encoder: nn.Module) -> nn.Module:
    """Copy an encoder's modules; tensors are shared, edits put new ones in their place."""
    tensors = (*encoder.parameters(), *encoder.buffers())
    return deepcopy(encoder, {id(tensor): tensor for tensor in tensors})


def _judged(
    encoder: nn.Module, expected: Fingerprint, tolerance: float, cause: Cause, words: str, change: Mapping[str, Any]
) -> Tried:
    """Judge one changed encoder; one that cannot take the probe does not fit."""
    try:
        worst = max(differences(encoder, expected).values())
    except (RuntimeError, ConfigError, ValueError):
        worst = float("inf")
    fits = worst <= tolerance
    return Tried(
        cause=cause,
        words=words,
        change=dict(change),
        coverage=1.0,
        difference=worst if isfinite(worst) else None,
        helped=fits,
        proof="fingerprint" if fits else "failed",
    )


def _found(tried: Tried) -> str:
    return f"Tried and found: with {tried.words}, it fits ({CAUSES[tried.cause]})."


def _sibling_cause(asked: str, name: str) -> Cause:
    """ResNets that share all shapes differ in stride and dilation, timm's tf_ twins in epsilon and padding."""
    return "dilation" if "medicalnet" in (asked.rstrip("0123456789"), name.rstrip("0123456789")) else "wrong_network"


def _rest(
    gaps: Mapping[str, float], first: str, source: SourceWeights, like: SourceWeights | None
) -> tuple[Cause, str]:
    """Nothing that was tried fits: say how far off it is."""
    if not isfinite(gaps.get(first, 0.0)):
        return "stride", f"features of {first} have another shape: a stride, dilation or padding differs."
    if gaps[first] <= _NEAR or (like is not None and _alike(source, like) >= _ALIKE):
        text = f"close to what is meant, yet not it (relative difference {gaps[first]:.2g} in {first}, no mend fits): "
        return "near_weights", text + "averaged (EMA) weights, another epoch, or rounded numbers."
    return "other_values", f"relative difference {gaps[first]:.2g} in {first}; no known mend fits."


def _alike(source: SourceWeights, like: SourceWeights) -> float:
    """Return the median cosine between the kernels of two sources."""
    found = [
        _cosine(source[key], like[key])
        for key in source
        if key in like and len(source.shapes[key]) >= 2 and source.shapes[key] == like.shapes[key]
    ]
    return float(torch.tensor(found).median()) if found else 0.0


def _cosine(a: Tensor, b: Tensor) -> float:
    x, y = a.double().flatten(), b.double().flatten()
    return float(x @ y / (x.norm() * y.norm()).clamp_min(1e-30))


def card_with(card: WeightSource, change: Mapping[str, Any]) -> WeightSource:
    """Return a card with the fields of a mend written into it."""
    data = card.model_dump(mode="json")
    for key, value in change.items():
        data[key] = {**data[key], **value} if isinstance(value, Mapping) and isinstance(data[key], dict) else value
    return WeightSource.model_validate(data)
