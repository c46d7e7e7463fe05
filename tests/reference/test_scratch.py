"""Scratch: nothing changes, and the plan says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from allograft.starts.scratch import Scratch
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from hand_loop import changed, snapshot
from tiny_source import tiny_source, trained_net


@pytest.mark.parametrize("dims", [2, 3])
def test_no_bit_changes_whatever_the_seed_of_apply(dims: int) -> None:
    net = tiny_net(dims)
    before = snapshot(net)
    for seed in (0, 1):
        apply(Scratch().plan(net, None), net, None, seed=seed)
        assert not changed(before, snapshot(net))


def test_the_network_s_seed_is_what_decides() -> None:
    assert changed(snapshot(tiny_net(2, seed=1)), snapshot(tiny_net(2, seed=2)))
    assert not changed(snapshot(tiny_net(2, seed=1)), snapshot(tiny_net(2, seed=1)))


def test_a_given_source_stays_unused_and_is_listed(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = Scratch().plan(tiny_net(2), source)
    assert plan.coverage().fresh == 1.0
    assert {each.source for each in plan.unused} == set(source.shapes)
    assert plan.problems == ()
