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
from allograft.weights.fit_positions import read_grid
from allograft.weights.gabor import bank
from allograft.weights.heads import row_order
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights

__all__ = ["apply", "channel_order"]


def apply(plan: TransferPlan, net: Network, source: SourceWeights | None, *, seed: int) -> None:
    """Give every tensor of `net` the value that its row names.

    Rows that are FRESH keep what the network was built with. Every draw has a generator of its own,
    seeded by the tensor's name, so the order of rows does not matter. How tensors learn is not
    touched. Afterwards copied tensors are compared with the source bit for bit, converted ones with what
    was computed, rows of a head with the source's or with those that were built, and drawn ones must differ
    from the source; applying twice gives the same network.

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
    built = {e.target: state[e.target].clone() for e in plan.entries if "label_map" in e.args}
    meant: dict[str, str] = {}
    with torch.no_grad():
        for entry in plan.entries:
            if entry.action is not Action.FRESH:
                value = _value(entry, state[entry.target], source, seed)
                state[entry.target].copy_(value)
                if entry.action in _CONVERSIONS and entry.action is not Action.COPY:
                    meant[entry.target] = tensor_hash(value.to(state[entry.target].dtype))
    for entry in plan.entries:
        _verify(entry, state[entry.target], source, meant.get(entry.target, ""))
        if entry.target in built:
            _verify_rows(entry, state[entry.target], built[entry.target], _given(entry, source))


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
    return _CONVERSIONS[entry.action](given, entry, fresh)


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


def _kernel(given: Tensor, entry: Entry, fresh: Tensor) -> Tensor:
    """Channels first, then dimension and size: the order in which the plan judged the shapes."""
    value = _channels(given.float(), entry)
    if entry.action is Action.COLLAPSE:
        value = adapt.collapse(value)
    if "kernel" in entry.args:
        how = cast('Literal["centre", "average"]', entry.args["kernel"])
        value = adapt.resize_kernel(value, entry.shape[len(entry.shape) - value.ndim + 2 :], how)
    if entry.action is Action.INFLATE:
        fill = cast('Literal["average", "centre", "slice"]', entry.args["fill"])
        value = adapt.inflate(value, entry.shape[2], fill)
    if entry.args.get("new_channels") == "fresh":
        new = [j for j, index in enumerate(channel_order(entry)) if index is None]
        value[:, new] = fresh[:, new].to(value)
    return value


def _channels(value: Tensor, entry: Entry) -> Tensor:
    """Return the kernel with the network's input channels."""
    if entry.args.get("channels") == "named":
        new = cast('Literal["mean", "zero", "fresh"]', entry.args.get("new_channels", "zero"))
        return adapt.named_channels(value, channel_order(entry), new)
    if "channels" in entry.args:
        how = cast('Literal["sum", "mean", "cycle"]', entry.args["channels"])
        return adapt.rescale_channels(value, entry.shape[1], how)
    return value


def channel_order(entry: Entry) -> tuple[int | None, ...]:
    """Return, for each channel of the data, the index of the source's, None for a new one; () where order counts."""
    order = str(entry.args.get("order", ""))
    return tuple(None if word == "new" else int(word) for word in order.split())


def _positions(given: Tensor, entry: Entry, _: Tensor) -> Tensor:
    old, new = read_grid(str(entry.args["old"])), read_grid(str(entry.args["new"]))
    resample = adapt.resample_table if entry.args["table"] else adapt.resample_grid
    return resample(given, old, new, int(entry.args["prefix"]))


def _selected(given: Tensor, entry: Entry, fresh: Tensor) -> Tensor:
    """Rows of classes of the same name, the others as built; or the leading part."""
    if "label_map" not in entry.args:
        return adapt.select(given, entry.shape)
    value = fresh.clone()
    for row, index in enumerate(row_order(entry)):
        if index is not None:
            value[row] = given[index].reshape(value[row].shape).to(value)
    return value


_CONVERSIONS: Mapping[Action, Callable[[Tensor, Entry, Tensor], Tensor]] = {
    Action.COPY: lambda given, *_: given,
    Action.RESCALE: _kernel,
    Action.INFLATE: _kernel,
    Action.COLLAPSE: _kernel,
    Action.RESIZE: _kernel,
    Action.RESAMPLE: _positions,
    Action.SELECT: _selected,
}


def _filter_norm(fresh: Tensor) -> float:
    """Root mean square of the filters' L2 norms, to 5 digits so that applying twice changes nothing."""
    return float(f"{float(fresh.float().flatten(1).norm(dim=1).square().mean().sqrt()):.5g}")


def _verify(entry: Entry, written: Tensor, source: SourceWeights | None, computed: str) -> None:
    """Compare a row with what was meant after all rows were written (tied tensors show here)."""
    if entry.action is Action.COPY:
        wrong = tensor_hash(written) != tensor_hash(_given(entry, source).to(written.dtype))
        meant = "copied bit for bit"
    elif entry.action is Action.SAMPLE:
        given = _given(entry, source)
        alike = written.shape == given.shape and torch.equal(written.cpu(), given.to(written.dtype))
        # A constant layer has variance 0: every draw is the layer itself.
        wrong = alike and float(given.double().var(correction=0)) > 0
        meant = "drawn, not copied"
    else:
        wrong = bool(computed) and tensor_hash(written) != computed
        meant = "converted"
    if wrong:
        _refuse(entry, meant)


def _verify_rows(entry: Entry, written: Tensor, built: Tensor, given: Tensor) -> None:
    """Compare each row of a head with the source's row of its class, or with the row that was built."""
    for row, index in enumerate(row_order(entry)):
        wanted = built[row] if index is None else given[index].reshape(written[row].shape).to(written)
        if not torch.equal(written[row], wanted):
            _refuse(entry, "kept as built in a row" if index is None else "copied row by row")


def _refuse(entry: Entry, meant: str) -> None:
    msg = (
        f"{entry.target} was to be {meant} from {entry.source} and is not what was meant. "
        "Does another tensor of the network share its memory (tied weights)?"
    )
    raise PlanError(msg)
