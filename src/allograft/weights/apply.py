"""apply: the only writer of weights. It does what the plan says and proves that it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from allograft.core.errors import PlanError
from allograft.core.seeds import seed_for
from allograft.nets.network import Network
from allograft.weights import adapt
from allograft.weights.digest import tensor_hash
from allograft.weights.gabor import bank
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights

__all__ = ["apply"]


def apply(plan: TransferPlan, net: Network, source: SourceWeights | None, *, seed: int) -> None:
    """Give every tensor of `net` the value that its row names.

    Rows that are FRESH keep what the network was built with. Every draw has a generator of its own,
    seeded by the tensor's name, so the order of rows does not matter. How tensors learn is not
    touched. Afterwards copied tensors are compared with the source bit for bit, and drawn ones must
    differ from it; applying twice gives the same network.

    Args:
        plan: a plan without problems, made for this network and this source.
        net: the network, with real tensors, built from its seed.
        source: the source that the plan names, None where it names none.
        seed: seed of the draws.

    Raises:
        PlanError: the plan has problems, belongs to another network or source, the network is on the
            meta device, a source tensor is not finite, or a written tensor is not what was meant.
    """
    plan.require_sound()
    state = net.state_dict()
    _check_belongs(plan, state, source)
    with torch.no_grad():
        for entry in plan.entries:
            if entry.action is not Action.FRESH:
                state[entry.target].copy_(_value(entry, state[entry.target], source, seed))
    for entry in plan.entries:
        _verify(entry, state[entry.target], source)


def _check_belongs(plan: TransferPlan, state: Mapping[str, Tensor], source: SourceWeights | None) -> None:
    """Refuse a plan that was made for something else, before anything is written."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    planned = {entry.target: entry.shape for entry in plan.entries}
    if shapes != planned:
        odd = [key for key in {**shapes, **planned} if shapes.get(key) != planned.get(key)]
        key = odd[0]
        msg = (
            f'plan "{plan.start}" was made for another network: {len(odd)} tensors differ. First: {key}, planned '
            f"{planned.get(key)}, in the network {shapes.get(key)}. Plan again."
        )
        raise PlanError(msg)
    name = None if source is None else source.card.name
    takes = any(entry.source is not None for entry in plan.entries)
    if takes and name != plan.source:
        msg = (
            f'plan "{plan.start}" takes values from source {plan.source}, got {name}. Give the source it was made for.'
        )
        raise PlanError(msg)
    if any(tensor.is_meta for tensor in state.values()):
        msg = f'plan "{plan.start}": the network is on the meta device and has no values. Build it on the CPU first.'
        raise PlanError(msg)


def _value(entry: Entry, fresh: Tensor, source: SourceWeights | None, seed: int) -> Tensor:
    """Return the value of one row."""
    if entry.action is Action.COMPUTE:
        return bank(entry.shape, _filter_norm(fresh))
    given = _given(entry, source)
    if entry.action is Action.SAMPLE:
        generator = Generator().manual_seed(seed_for("sample", entry.target, seed))
        return adapt.sample_mean_var(given, entry.shape, generator)
    return _CONVERSIONS[entry.action](given, entry)


def _given(entry: Entry, source: SourceWeights | None) -> Tensor:
    """Return the source tensor of a row, of the shape that was planned with."""
    assert source is not None
    assert entry.source is not None
    if entry.source not in source or source.shapes[entry.source] != entry.source_shape:
        msg = (
            f'source "{source.card.name}": tensor {entry.source} of shape {entry.source_shape} was planned with; the '
            f"source now has {source.shapes.get(entry.source)}. Plan again."
        )
        raise PlanError(msg)
    return source[entry.source]


def _kernel(given: Tensor, entry: Entry) -> Tensor:
    """Channels first, then dimension: the order in which the plan judged the shapes."""
    value = given.float()
    if "channels" in entry.args:
        how = cast('Literal["sum", "mean", "cycle"]', entry.args["channels"])
        value = adapt.rescale_channels(value, entry.shape[1], how)
    if entry.action is Action.INFLATE:
        fill = cast('Literal["average", "centre", "slice"]', entry.args["fill"])
        return adapt.inflate(value, entry.shape[2], fill)
    return adapt.collapse(value) if entry.action is Action.COLLAPSE else value


def _positions(given: Tensor, entry: Entry) -> Tensor:
    old, new = int(entry.args["old"]), int(entry.args["new"])
    return adapt.resample_grid(given, (old, old), (new, new), int(entry.args["prefix"]))


_CONVERSIONS: Mapping[Action, Callable[[Tensor, Entry], Tensor]] = {
    Action.COPY: lambda given, _: given,
    Action.RESCALE: _kernel,
    Action.INFLATE: _kernel,
    Action.COLLAPSE: _kernel,
    Action.RESAMPLE: _positions,
    Action.SELECT: lambda given, entry: adapt.select(given, entry.shape),
}


def _filter_norm(fresh: Tensor) -> float:
    """Root mean square of the filters' L2 norms, to 5 digits so that applying twice changes nothing."""
    return float(f"{float(fresh.float().flatten(1).norm(dim=1).square().mean().sqrt()):.5g}")


def _verify(entry: Entry, written: Tensor, source: SourceWeights | None) -> None:
    """Compare a row with the source after all rows were written (tied tensors show here)."""
    if entry.action not in {Action.COPY, Action.SAMPLE}:
        return
    given = _given(entry, source)
    if entry.action is Action.COPY:
        wrong = tensor_hash(written) != tensor_hash(given.to(written.dtype))
        meant = "copied bit for bit"
    else:
        alike = written.shape == given.shape and torch.equal(written.cpu(), given.to(written.dtype))
        # A constant layer has variance 0: every draw is the layer itself.
        wrong = alike and float(given.double().var(correction=0)) > 0
        meant = "drawn, not copied"
    if wrong:
        msg = (
            f"{entry.target} was to be {meant} from {entry.source} and is not what was meant. "
            "Does another tensor of the network share its memory (tied weights)?"
        )
        raise PlanError(msg)
