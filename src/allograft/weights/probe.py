"""probe: after `apply`, what was copied must compute what the source network computes.

Stages whose tensors, and those of all stages before, were copied unchanged are judged; a miss is an
error. What differs by design (rescaled, inflated, collapsed, sampled, fresh) is reported as a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from allograft.core.config import Config
from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.weights.apply import channel_order
from allograft.weights.build import OWN
from allograft.weights.checking.diagnose import diagnose
from allograft.weights.coverage import Thresholds, encoder_shares, wanted
from allograft.weights.fingerprint import (
    TOLERANCE,
    Fingerprint,
    check_fingerprint,
    fingerprint,
    probe_input,
    probe_shape,
    relative_difference,
    stage_features,
)
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.reference import fill
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights

__all__ = ["Fingerprint", "ProbeReport", "ProbeRow", "check_fingerprint", "fingerprint", "load_reference", "probe"]


class ProbeRow(Config):
    """One stage under the probe.

    Args:
        stage: its name.
        difference: relative L2 difference of its features from the source network's; None where the
            two cannot be compared (another shape).
        judged: whether it had to be equal.
        why: for stages that are not judged, what differs by design.
    """

    stage: str
    difference: float | None
    judged: bool
    why: str = ""


class ProbeReport(Config):
    """What the probe found.

    Args:
        source: name of the source.
        proof: "fingerprint" where the source network itself gave the card's numbers; "unproven" where
            the card has none, so that a fault which both networks share cannot show.
        rows: one for each stage with features.
    """

    source: str
    proof: Literal["fingerprint", "unproven"]
    rows: tuple[ProbeRow, ...]


def load_reference(source: SourceWeights, encoder: nn.Module) -> nn.Module:
    """Fill the source's own encoder with all its weights and check the card's fingerprint.

    Args:
        source: the weights.
        encoder: a new encoder of the architecture, dimension and channels that the card names.

    Raises:
        PlanError: a tensor is missing or does not fit, or the fingerprint is missed.
    """
    fill(source, encoder)
    if low := encoder_shares(wanted(encoder), source).below(Thresholds()):
        msg = f'source "{source.card.name}": {low}. allograft weights check tells what lies in the file.'
        raise PlanError(msg)
    mark = source.card.fingerprint
    if mark is None:
        return encoder
    try:
        check_fingerprint(encoder, mark, who=f'source "{source.card.name}"')
    except PlanError as error:
        found = diagnose(encoder, source, mark)
        raise PlanError(f"{error} Cause: {found.cause}. {found.text}") from error
    return encoder


def probe(
    plan: TransferPlan,
    net: Network,
    source: SourceWeights,
    reference_encoder: Callable[[], nn.Module],
    *,
    tolerance: float = TOLERANCE,
    size: tuple[int, ...] = (),
) -> ProbeReport:
    """Compare a network with its source after `apply`.

    Channels that were matched by name are put in order. Where the two have other channels, those that they share
    are equal and the rest is zero, or all are equal where names are unknown; where they have other
    dimensions, the volume repeats the image along depth and its middle slice is compared.

    Args:
        plan: the plan that was applied.
        net: the network.
        source: the source.
        reference_encoder: builds the encoder that the card names, with the card's dimension and channels.
        tolerance: largest relative difference of a judged stage, > 0.
        size: spatial size of the probe for the source's encoder, () for the fingerprint's or 64 (32 in 3-D).

    Raises:
        PlanError: the source misses its fingerprint, or a stage that was copied unchanged differs.
    """
    reference = load_reference(source, reference_encoder())
    theirs, ours = _inputs(net, source, size, _named(plan))
    wanted = stage_features(reference, theirs)
    found = stage_features(net.encoder, ours.to(next(net.parameters()).device))
    rows = []
    for stage, reason in _reasons(plan, net, source).items():
        if stage not in wanted or stage not in found:
            continue
        gap = _difference(found[stage].cpu(), wanted[stage])
        rows.append(ProbeRow(stage=stage, difference=gap, judged=not reason, why=reason))
        if not reason and not (gap is not None and gap <= tolerance):
            raise PlanError(_miss(source, stage, gap, found[stage], wanted[stage]))
    proof: Literal["fingerprint", "unproven"] = "fingerprint" if source.card.fingerprint else "unproven"
    return ProbeReport(source=source.card.name, proof=proof, rows=tuple(rows))


def _reasons(plan: TransferPlan, net: Network, source: SourceWeights) -> dict[str, str]:
    """By encoder stage in order: why it is not judged, "" where it is."""
    reason = ""
    if net.shape.dims != source.card.dims:
        reason = f"{source.card.dims}-D to {net.shape.dims}-D"
    found = {}
    for stage in net.shape.stages():
        for entry in plan.entries:
            same = entry.action is Action.COPY or entry.why == OWN or entry.target.endswith("num_batches_tracked")
            same = same or _reordered(entry)
            if entry.stage == stage.name and not same and not reason:
                reason = f"{entry.target}: {entry.action.value}"
        found[stage.name] = reason
    return found


def _reordered(entry: Entry) -> bool:
    """Tell whether input channels were only put in order, or left out: what the source computes is still known."""
    args = entry.args
    return entry.action is Action.RESCALE and args.get("channels") == "named" and "new_channels" not in args


def _named(plan: TransferPlan) -> Entry | None:
    """Return the row whose input channels were matched by name, None where none was."""
    return next((entry for entry in plan.entries if entry.args.get("channels") == "named"), None)


def _inputs(net: Network, source: SourceWeights, size: tuple[int, ...], named: Entry | None) -> tuple[Tensor, Tensor]:
    """Inputs for the source's encoder and for ours that mean the same."""
    card = source.card
    mark = card.fingerprint
    shape = probe_shape(card.expects.channels, card.dims, size)
    if mark is not None and not size:
        shape = mark.shape
    theirs = probe_input(shape, mark.seed if mark else 0)
    dims = net.shape.dims
    if dims < card.dims:
        theirs = theirs[:, :, :1].expand(theirs.shape).contiguous()
    theirs, ours = _channels(theirs, net.shape.in_channels, named)
    if dims > card.dims:
        ours = ours.unsqueeze(2).expand(-1, -1, max(shape[2:]), *shape[2:])
    elif dims < card.dims:
        ours = ours[:, :, 0]
    return theirs, ours.contiguous()


def _channels(theirs: Tensor, channels: int, named: Entry | None) -> tuple[Tensor, Tensor]:
    """Return the source's input and ours that means the same, channel by channel."""
    if named is None:
        if channels == theirs.shape[1]:
            return theirs, theirs
        one = theirs[:, :1]
        return one.expand(theirs.shape).contiguous(), one.expand(-1, channels, *theirs.shape[2:])
    order = channel_order(named)
    known = [index for index in order if index is not None]
    mean = named.args.get("new_channels") == "mean"
    shown = torch.zeros_like(theirs)
    shown[:, known] = theirs[:, known[:1]] if mean else theirs[:, known]
    new = theirs[:, known[0]] if mean else torch.zeros_like(theirs[:, 0])
    return shown, torch.stack([new if index is None else shown[:, index] for index in order], dim=1)


def _difference(found: Tensor, wanted: Tensor) -> float | None:
    """Relative difference; a volume is compared by its middle slice."""
    if found.ndim == wanted.ndim + 1:
        found = found[:, :, found.shape[2] // 2]
    elif wanted.ndim == found.ndim + 1:
        wanted = wanted[:, :, wanted.shape[2] // 2]
    if found.shape != wanted.shape:
        return None
    gap = relative_difference(torch.as_tensor(found), wanted)
    return gap if gap < float("inf") else None


def _miss(source: SourceWeights, stage: str, gap: float | None, found: Tensor, wanted: Tensor) -> str:
    """Say what differs and what it is likely to be."""
    head = f'source "{source.card.name}": {stage} was copied bit for bit and does not compute what the source does: '
    if found.shape != wanted.shape:
        return (
            f"{head}features have shape {tuple(found.shape)}, expected {tuple(wanted.shape)}. A stride, dilation or "
            f'padding differs; build the network as "{source.encoder_name}".'
        )
    text = "cannot be compared" if gap is None else f"relative difference {gap:.3g}"
    return (
        f"{head}{text}. Shapes agree, so look at dilation, the epsilon of norm layers, activation and channel order; "
        f'build the network as "{source.encoder_name}".'
    )
