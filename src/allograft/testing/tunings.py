"""Contract of a tuning: it fills `learns`, and nothing else, so that the loop can follow it.

Each check raises AssertionError with what the tuning does wrong.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from allograft.contracts import Method, Tuning
from allograft.nets.network import Network
from allograft.testing.methods import check_method
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.schedule import FREE, is_task

__all__ = ["check_learns", "check_penalty", "check_tuning"]


def check_tuning(tuning: Method, plan: TransferPlan, net: Network, *, steps: int = 100) -> TransferPlan:
    """Check a tuning on one plan and the network to which it was applied.

    Args:
        tuning: the tuning.
        plan: a sound plan of a start.
        net: the network after `apply`.
        steps: length of the run.

    Returns:
        The plan with `learns` filled.
    """
    check_method(tuning)
    assert isinstance(tuning, Tuning), f"{tuning!r} lacks learn() or penalty()"
    before = plan.model_dump_json()
    tuned = tuning.learn(plan, steps)
    assert plan.model_dump_json() == before, "learn() changed the plan that it was given"
    assert tuning.learn(plan, steps) == tuned, "learn() gives two plans for one plan"
    assert tuned.tuning == tuning.name, f"the plan names the tuning {tuned.tuning!r}, not {tuning.name!r}"
    assert tuned.notes[: len(plan.notes)] == plan.notes, "learn() dropped notes of the start"
    strip = {"tuning": "", "notes": (), "entries": ()}
    assert tuned.model_copy(update=strip) == plan.model_copy(update=strip), "learn() changed more than `learns`"
    _check_entries(plan, tuned)
    for entry in tuned.entries:
        check_learns(entry, steps)
    check_penalty(tuning, tuned, net)
    _check_acts(tuning, tuned, net)
    return tuned


def check_learns(entry: Entry, steps: int) -> None:
    """Check that a schedule begins at 0, rises in steps that happen, and has usable scales."""
    at = [step for step, _ in entry.learns]
    assert at, f"{entry.target}: no schedule"
    assert at[0] == 0, f"{entry.target}: the schedule begins at step {at[0]}"
    assert at == sorted(set(at)), f"{entry.target}: steps {at} do not rise"
    assert at[-1] < steps, f"{entry.target}: step {at[-1]} is never reached in {steps}"
    scales = [scale for _, scale in entry.learns]
    assert all(math.isfinite(s) and s >= 0 for s in scales), f"{entry.target}: scales {scales}"


def check_penalty(tuning: Tuning, tuned: TransferPlan, net: Network) -> None:
    """Check that a penalty is a finite scalar with gradient, keeps state in buffers, changes nothing."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    penalty = tuning.penalty(net, tuned)
    if penalty is not None:
        value = penalty(net)
        assert value.shape == (), f"the penalty has shape {tuple(value.shape)}, not ()"
        assert bool(torch.isfinite(value)), f"the penalty is {value.item()}"
        assert value.requires_grad, "the penalty has no gradient"
        assert not list(penalty.parameters()), "the penalty has parameters: they would be trained"
        _check_state(penalty, tuning.penalty(net, tuned))
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "penalty() changed the network"


def _check_state(penalty: nn.Module, again: nn.Module | None) -> None:
    """Check that the state dict is the whole state."""
    assert again is not None, "penalty() gives a module once and None the next time"
    again.load_state_dict(penalty.state_dict())


def _check_entries(plan: TransferPlan, tuned: TransferPlan) -> None:
    """Check that values stay and that decoder and heads learn at full rate from the first step."""
    for old, new in zip(plan.entries, tuned.entries, strict=True):
        same = new.model_copy(update={"learns": old.learns}) == old
        assert same, f"{old.target}: learn() changed more than `learns`"
        if is_task(new.stage):
            assert new.learns == FREE, f"{new.target}: decoder and heads always learn, got {new.learns}"


def _check_acts(tuning: Tuning, tuned: TransferPlan, net: Network) -> None:
    """Check that something learns, and that all but "full" differ from "full" or say so."""
    assert any(not e.frozen and e.kind in {"weight", "bias"} for e in tuned.entries), "nothing learns"
    plain = all(e.learns == FREE for e in tuned.entries) and tuning.penalty(net, tuned) is None
    assert not plain or tuning.name == "full" or tuned.notes, f"{tuning.name} does nothing and does not say so"
