"""Partial: bit-equal at or below stage k, different above; its two ends are scratch and full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.starts.full import Full
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights
from hand_loop import changed, snapshot
from tiny_source import tiny_source, trained_net

MODULES = ("encoder.stem", "encoder.layer1", "encoder.layer2")


def started(start: Method, source: SourceWeights, dims: int = 2) -> dict[str, torch.Tensor]:
    net = tiny_net(dims)
    made: Any = start
    apply(made.plan(net, source), net, source, seed=3)
    return snapshot(net)


@pytest.mark.parametrize("rest", ["fresh", "mean_var"])
@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_bit_equal_at_or_below_stage_k_and_different_above(dims: int, k: int, rest: str, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(dims))
    state = started(Partial.model_validate({"k": k, "rest": rest}), source, dims)
    for i, module in enumerate(MODULES):
        names = [name for name in state if name.startswith(module)]
        equal = {name: torch.equal(state[name], source[name.removeprefix("encoder.")]) for name in names}
        assert set(equal.values()) == {i < k}, equal


def test_k_0_equals_scratch_and_k_all_equals_full_under_the_same_seed(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    assert not changed(started(Partial(k=0), source), started(Scratch(), source))
    assert not changed(started(Partial(k=3), source), started(Full(), source))
    assert changed(started(Partial(k=1), source), started(Scratch(), source))
    assert changed(started(Partial(k=2), source), started(Full(), source))


def test_both_ends_say_what_they_are(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    said = [Partial(k=k).plan(tiny_net(2), source).notes for k in (0, 1, 3)]
    new = [[note for note in notes if note.startswith("partial")] for notes in said]
    assert 'it is the start "scratch"' in new[0][0]
    assert new[1] == []
    assert 'it is the start "full"' in new[2][0]


def test_mean_var_above_equals_the_start_mean_var_there(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    mixed, sampled = started(Partial(k=1, rest="mean_var"), source), started(MeanVar(), source)
    above = {name: value for name, value in mixed.items() if name.startswith(MODULES[1:])}
    assert not changed(above, sampled)


def test_until_and_k_name_the_same_stages(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    assert Partial(until="stage1").plan(tiny_net(2), source) == Partial(k=2).plan(tiny_net(2), source)
    assert Partial().plan(tiny_net(2), source) == Partial(k=2).plan(tiny_net(2), source)


def test_unknown_stages_and_two_limits_are_refused(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    with pytest.raises(PlanError, match=r'no stage "stag2"\. Did you mean "stage2"'):
        Partial(until="stag2").plan(tiny_net(2), source)
    with pytest.raises(PlanError, match="k = 4, but the encoder has 3 stages"):
        Partial(k=4).plan(tiny_net(2), source)
    with pytest.raises(ValueError, match="give until or k, not both"):
        Partial(until="stem", k=1)
