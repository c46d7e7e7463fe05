"""Contract of a start: a row for every tensor, nothing changed by planning, the same bits every time.

Each check raises AssertionError with what the start does wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from allograft.contracts import Method, Start
from allograft.nets.network import Network
from allograft.testing.methods import check_method
from allograft.weights.apply import apply
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action
from allograft.weights.schedule import FREE
from allograft.weights.source import SourceWeights

__all__ = ["check_refuses", "check_start", "check_values"]

OWN = frozenset({Action.FRESH, Action.COMPUTE})
"""Actions that take nothing from a source."""


def check_start(
    start: Method, make: Callable[[], Network], source: SourceWeights | None, *, seed: int = 0
) -> tuple[TransferPlan, Network]:
    """Check a start on a network and a source that fit each other.

    Args:
        start: the start.
        make: builds the network; equal tensors on every call.
        source: the weights, None for a start that needs none.
        seed: of the draws in `apply`.

    Returns:
        The plan, and the network to which it was applied.
    """
    check_method(start)
    assert isinstance(start, Start), f"{start!r} lacks plan()"
    net = make()
    before = _bits(net)
    plan = start.plan(net, source)
    _check_same(before, _bits(net), "plan() changed")
    assert start.plan(net, source) == plan, "plan() gives two plans for one network"
    _check_rows(start, plan, net)
    _check_source(plan, source)
    with torch.device("meta"):
        shapes_only = make()
    assert start.plan(shapes_only, source) == plan, "the plan on the meta device differs"
    assert TransferPlan.model_validate_json(plan.model_dump_json()) == plan, "the plan differs after JSON"
    plan.require_sound()
    return plan, check_values(plan, make, source, seed=seed)


def check_values(
    plan: TransferPlan, make: Callable[[], Network], source: SourceWeights | None, *, seed: int = 0
) -> Network:
    """Check what `apply` writes: repeatable, finite, as the rows say; return the network."""
    nets = [make(), make()]
    built = _bits(nets[0])
    for net in nets:
        apply(plan, net, source, seed=seed)
    first, second = _bits(nets[0]), _bits(nets[1])
    _check_same(first, second, "a second apply() with the same seed gives other values for")
    for entry in plan.entries:
        value = first[entry.target]
        assert bool(torch.isfinite(value.double()).all()), f"{entry.target} is not finite"
        if entry.target.endswith("running_var"):
            assert bool((value > 0).all()), f"{entry.target} is not positive"
        if entry.action is Action.FRESH:
            assert torch.equal(value, built[entry.target]), f"{entry.target} is said to be fresh and is changed"
        if entry.action is Action.COPY:
            assert source is not None, f"{entry.target} is copied from nothing"
            assert entry.source is not None, f"{entry.target} is copied, but the row does not say from where"
            assert torch.equal(value, source[entry.source]), f"{entry.target} is said to be copied and is not equal"
        if entry.action in {Action.SAMPLE, Action.COMPUTE}:
            assert not torch.equal(value, built[entry.target]), f"{entry.target}: {entry.action} changes nothing"
    return nets[0]


def check_refuses(start: Method, make: Callable[[], Network], good: SourceWeights, wrong: SourceWeights) -> None:
    """Check that a source whose names do not fit is a problem wherever the start takes values.

    Args:
        start: the start.
        make: builds the network.
        good: a source that fits.
        wrong: the same tensors under names that the network does not have.
    """
    assert isinstance(start, Start), f"{start!r} lacks plan()"
    takes = any(entry.action not in OWN for entry in start.plan(make(), good).entries)
    problems = start.plan(make(), wrong).problems
    assert bool(problems) == takes, f"takes values: {takes}; problems with wrong names: {problems}"
    if takes:
        assert start.plan(make(), None).problems, "no source at all is no problem"


def _check_rows(start: Method, plan: TransferPlan, net: Network) -> None:
    """Check one row per key of the state dict, in its order, with shape, stage and reason."""
    state = net.state_dict()
    assert [e.target for e in plan.entries] == list(state), "not one row per key of the state dict in its order"
    stages = {stage.name for stage in net.stages()}
    for entry in plan.entries:
        assert entry.shape == tuple(state[entry.target].shape), f"{entry.target}: wrong shape {entry.shape}"
        assert entry.stage in stages, f"{entry.target}: unknown stage {entry.stage}"
        assert entry.why, f"{entry.target}: no reason"
        assert entry.learns == FREE, f"{entry.target}: a start says values, the tuning says learning"
    assert (plan.start, plan.tuning) == (start.name, ""), f"the plan calls itself {plan.start!r}, {plan.tuning!r}"


def _check_source(plan: TransferPlan, source: SourceWeights | None) -> None:
    """Check that every key of the source is used or explained, and not both."""
    if source is None:
        assert plan.source is None, "a plan without a source names one"
        return
    used = {entry.source for entry in plan.entries if entry.source is not None}
    explained = {each.source for each in plan.unused}
    assert all(each.why for each in plan.unused), "an unused tensor has no reason"
    assert set(source.shapes) <= used | explained, f"silent: {set(source.shapes) - used - explained}"
    assert not used & explained, f"both used and unused: {used & explained}"


def _bits(net: Network) -> dict[str, Tensor]:
    """Return a copy of all tensors."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _check_same(before: dict[str, Tensor], after: dict[str, Tensor], what: str) -> None:
    differing = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert not differing, f"{what} {differing[:3]}"
