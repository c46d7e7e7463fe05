"""Examine: the steps of a check - what arrives, what the numbers are, what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import isfinite
from typing import Literal, NamedTuple

import torch
from torch import nn

from allograft.core.errors import AllograftError
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import Cause
from allograft.weights.checking.diagnose import Diagnosis, Tried, diagnose
from allograft.weights.checking.identify import Structure, structure
from allograft.weights.checking.mends import Arrival, Path, is_averaged, mended
from allograft.weights.coverage import Thresholds, wanted
from allograft.weights.fingerprint import Fingerprint, differences, fingerprint, probe_shape
from allograft.weights.reading.files import TensorFile
from allograft.weights.reference import fill
from allograft.weights.source import SourceWeights

__all__ = ["Builder", "Case", "Function", "compute", "fault_of_numbers", "fault_of_shapes", "only_states"]

Builder = Callable[[WeightSource], nn.Module]
"""Builds the encoder that a card names, with fresh values."""

_STATES = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step", "momentum_buffer", "square_avg", "sum"})
_STATISTICS = ("running_mean", "running_var")
_RESNETS = ("medicalnet", "resnet", "kinetics", "i3resnet")


class Case(NamedTuple):
    """What is examined.

    Args:
        card: what the file is said to be.
        places: the file's containers.
        build: makes encoders.
        like: weights known to be right, None where there are none.
        least: what must be reached.
    """

    card: WeightSource
    places: Mapping[str, TensorFile]
    build: Builder
    like: SourceWeights | None
    least: Thresholds


class Function(NamedTuple):
    """What the network computes, beside what it should.

    Args:
        proof: "fingerprint" where they agree, "failed" where not, "unproven" where nothing says what it should be.
        against: what says it.
        differences: by stage.
        diagnosis: why not, None where they agree or nothing says.
        card: the card with which they agree; the given one where none does.
    """

    proof: Literal["fingerprint", "unproven", "failed"]
    against: str
    differences: Mapping[str, float]
    diagnosis: Diagnosis | None
    card: WeightSource


def only_states(places: Mapping[str, TensorFile]) -> bool:
    """Tell whether all tensors of a file are an optimiser's."""
    names = [name.rsplit(".", 1)[-1] for tensors in places.values() for name in tensors.shapes]
    return bool(names) and all(name in _STATES for name in names)


def fault_of_shapes(case: Case, needed: Mapping[str, tuple[int, ...]], start: Arrival, path: Path) -> tuple[Cause, str]:
    """Name what keeps tensors from arriving; ("", "") where all arrive under the card as it is."""
    if start.complete:
        return "", ""
    end = path.end
    if start.source is None and case.card.container in case.places:
        return "duplicate_names", "the key map sends two tensors of the file to one name. Make its patterns narrower."
    if end.complete:
        first = path.steps[0]
        told = "; ".join(step.words for step in path.steps)
        return first.cause, f"{100 * start.share:.1f} % of the numbers arrive as it is. All do with {told}."
    if end.source is None:
        return "wrong_network", f'nothing in the file fits "{case.card.encoder}".'
    return _unlike(case.card.encoder, needed, end.source, end.share)


def _unlike(
    encoder: str, needed: Mapping[str, tuple[int, ...]], source: SourceWeights, share: float
) -> tuple[Cause, str]:
    """Compare the file's network with the one that is asked for."""
    have, want = structure(source.shapes), structure(needed)
    if have is not None and want is not None and (found := _structures(have, want)):
        return found, f'the file looks like {have.words()}; "{encoder}" is {want.words()}.'
    missing = [key for key in needed if key not in source]
    unfit = [key for key in needed if key in source and source.shapes[key] != needed[key]]
    if missing and not unfit and all(key.endswith(_STATISTICS) for key in missing):
        return (
            "missing_statistics",
            f"{len(missing)} running statistics of norm layers are missing, first {missing[0]}.",
        )
    if share < 0.5:
        return "wrong_network", f'{100 * share:.1f} % of the numbers of "{encoder}" fit the file; is that the network?'
    first = (missing or unfit or ["tensors without a place"])[0]
    return "missing_tensors", f"{len(missing)} tensors are missing and {len(unfit)} do not fit, first {first}."


def _structures(have: Structure, want: Structure) -> Cause | None:
    """Name the first thing in which two ResNets differ."""
    if have.dims != want.dims:
        return "wrong_dims"
    if have.depth and want.depth and have.depth != want.depth:
        return "wrong_depth"
    if have.stem != want.stem or have.halved != want.halved:
        return "wrong_width"
    if have.in_channels != want.in_channels:
        return "input_channels"
    if have.blocks == want.blocks and have.shortcuts != want.shortcuts:
        return "shortcut_type"
    return "wrong_network" if have.kernel != want.kernel else None


def fault_of_numbers(source: SourceWeights, needed: Mapping[str, tuple[int, ...]]) -> tuple[Cause, str]:
    """Name what is wrong with the numbers themselves; ("", "") where nothing is."""
    integers = [key for key in needed if key in source and not source.dtypes[key].is_floating_point]
    if integers:
        first = integers[0]
        text = (
            f"{len(integers)} tensors hold {source.dtypes[first]} numbers, first {source.file_name(first)}: quantised."
        )
        return "quantised", f"{text} Get the weights before quantisation."
    for key in needed:
        if key not in source:
            continue
        tensor = source.raw(key)
        if bool(torch.isfinite(tensor).all()):
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        name = source.file_name(key)
        if tensor.dtype is torch.float16 and not bool(torch.isnan(tensor).any()):
            text = f"{name}: {bad} half-precision numbers are infinite: too large for 16 bits when they were saved."
            return "overflow", f"{text} Get the file in 32 bits."
        return "not_finite", f"{name}: {bad} of {tensor.numel()} numbers are NaN or infinite."
    return _heads(source)


def _heads(source: SourceWeights) -> tuple[Cause, str]:
    """Find heads whose matrix is transposed: as many columns as biases, not as many rows."""
    for key, shape in source.shapes.items():
        bias = source.shapes.get(key.removesuffix("weight") + "bias", ())
        turned = len(shape) == 2 and len(bias) == 1 and shape[0] != bias[0] and shape[1] == bias[0]
        if key.startswith("heads.") and key.endswith(".weight") and turned:
            text = f"{source.file_name(key)} is {shape[0]} x {shape[1]} for {bias[0]} biases: it is transposed."
            return "head_transposed", text
    return "", ""


def compute(case: Case, path: Path) -> Function:
    """Run the encoder with the file's weights and compare; where it differs, try what is known."""
    source, card = path.end.source, path.end.card
    assert source is not None, "only called where everything arrived"
    encoder = fill(source, case.build(card))
    expected, against = _expected(case)
    if expected is None:
        return Function("unproven", "", {}, None, card)
    gaps = differences(encoder, expected)
    if max(gaps.values()) <= case.least.tolerance:
        return Function("fingerprint", against, gaps, None, card)
    fork = _fork(case, path, expected)
    if fork is not None:
        return Function("failed", against, gaps, fork[0], fork[1])
    found = diagnose(
        encoder,
        source,
        expected,
        siblings=dict(_siblings(case, source)),
        like=case.like,
        tolerance=case.least.tolerance,
    )
    return Function("failed", against, gaps, found, card)


def _expected(case: Case) -> tuple[Fingerprint | None, str]:
    """Return what the network should give, and who says so: a trusted source first, then the card."""
    mark = case.card.fingerprint
    if case.like is not None:
        card = case.like.card
        if card.fingerprint is not None:
            return card.fingerprint, f'fingerprint of "{card.name}"'
        shape = mark.shape if mark else probe_shape(card.expects.channels, card.dims, card.expects.size)
        return fingerprint(fill(case.like, case.build(card)), shape), f'the network of "{card.name}"'
    return mark, f'the fingerprint of card "{case.card.name}"' if mark else ""


def _fork(case: Case, path: Path, expected: Fingerprint) -> tuple[Diagnosis, WeightSource] | None:
    """Try the other tensors of the file that names and shapes do not tell from those that were taken."""
    tried = []
    for fork in path.forks:
        end = mended(fork, case.places, wanted(case.build(case.card))).end
        if not end.complete or end.source is None:
            continue
        worst = _worst(lambda card=end.card, source=end.source: fill(source, case.build(card)), expected)  # type: ignore[misc]
        moved = end.card.container != path.end.card.container
        cause: Cause = _averaged(path, end) if moved else "prefix"
        words = f'container: "{end.card.container}"' if moved else f"key_map: {list(end.card.key_map)}"
        change = {"container": end.card.container, "key_map": [list(line) for line in end.card.key_map]}
        helped = worst <= case.least.tolerance
        tried.append(
            Tried(
                cause=cause,
                words=words,
                change=change,
                coverage=1.0,
                difference=worst if isfinite(worst) else None,
                helped=helped,
                proof="fingerprint" if helped else "failed",
            )
        )
        if helped:
            return Diagnosis(cause, f"Tried and found: with {words}, it fits.", tuple(tried)), end.card
    return None


def _averaged(path: Path, end: Arrival) -> Cause:
    """Tell averaged weights, by the name of their container, from others."""
    return (
        "averaged_weights" if is_averaged(end.card.container) != is_averaged(path.end.card.container) else "container"
    )


def _worst(make: Callable[[], nn.Module], expected: Fingerprint) -> float:
    try:
        return max(differences(make(), expected).values())
    except (AllograftError, RuntimeError, ValueError):
        return float("inf")


def _siblings(case: Case, source: SourceWeights) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Yield other encoders of the catalog whose tensors have the same names and shapes."""
    needed = wanted(case.build(source.card))
    for name in _relatives(source.card.encoder):
        card = source.card.model_copy(update={"encoder": name})
        try:
            same = wanted(case.build(card)) == needed
        except AllograftError:
            continue
        if same:
            yield name, partial(_loaded, case, card, source)


def _loaded(case: Case, card: WeightSource, source: SourceWeights) -> nn.Module:
    return fill(source, case.build(card))


def _relatives(encoder: str) -> tuple[str, ...]:
    """Return names of encoders that may share all shapes."""
    kind, _, name = encoder.partition(":")
    if kind in {"timm", "timm-slice"}:
        return (f"{kind}:{name.removeprefix('tf_')}" if name.startswith("tf_") else f"{kind}:tf_{name}",)
    family, depth = encoder.rstrip("0123456789"), encoder.lstrip("abcdefghijklmnopqrstuvwxyz")
    return tuple(f"{each}{depth}" for each in _RESNETS if each != family) if family in _RESNETS else ()
