"""Gabor: the first convolution holds edge filters; all else is as asked."""

from __future__ import annotations

from math import cos, pi, sin
from pathlib import Path

import pytest
import torch
from torch import nn

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.starts.gabor import Gabor
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from hand_loop import changed, snapshot
from tiny_source import tiny_source, trained_net

FIRST = "encoder.stem.conv.weight"


@pytest.mark.parametrize("dims", [2, 3])
def test_only_the_first_convolution_is_computed(dims: int) -> None:
    net = tiny_net(dims, widths=(48, 6, 8))
    before = snapshot(net)
    apply(Gabor().plan(net, None), net, None, seed=0)
    assert changed(before, snapshot(net)) == {FIRST}


def test_filters_answer_gratings_by_orientation_which_built_ones_do_not() -> None:
    net = tiny_net(2, widths=(48, 6, 8), in_channels=1)
    built = selectivity(net.state_dict()[FIRST])
    apply(Gabor().plan(net, None), net, None, seed=0)
    computed = selectivity(net.state_dict()[FIRST])
    assert computed.median() > 1.5 * built.median()
    kernel = net.state_dict()[FIRST]
    torch.testing.assert_close(kernel.sum((1, 2, 3)), torch.zeros(48), atol=1e-4, rtol=0)  # blind to a flat image


def selectivity(kernel: torch.Tensor) -> torch.Tensor:
    """Return, per filter, its strongest answer to gratings of 16 orientations over its weakest."""
    size = kernel.shape[-1]
    y, x = torch.meshgrid(*[torch.arange(size) - size // 2] * 2, indexing="ij")
    answers = []
    for i in range(16):
        wave = x * cos(i * pi / 16) + y * sin(i * pi / 16)
        both = [f(2 * pi * wave / 4.5).reshape(1, 1, size, size) for f in (torch.cos, torch.sin)]
        answers.append(torch.stack([(kernel * g).sum((1, 2, 3)) for g in both]).norm(dim=0))
    table = torch.stack(answers)
    return table.max(0).values / table.min(0).values.clamp_min(1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_rest_from_the_source_copies_all_but_the_first_kernel_and_the_heads(dims: int, tmp_path: Path) -> None:
    donor = trained_net(dims)
    source = tiny_source(tmp_path, donor)
    net = tiny_net(dims)
    plan = Gabor(rest="source").plan(net, source)
    apply(plan, net, source, seed=0)
    kept = {name: value for name, value in snapshot(net).items() if name.startswith("encoder.")}
    assert changed(kept, donor.state_dict()) == {FIRST}
    assert [e.target for e in plan.entries if e.action is Action.COMPUTE] == [FIRST]
    assert [u.source for u in plan.unused] == ["stem.conv.weight"]


def test_without_a_source_the_rest_cannot_be_copied() -> None:
    assert Gabor(rest="source").plan(tiny_net(2), None).problems


class _Flat(nn.Module):
    """An encoder of synthetic shape: a convolution of kernel 1, or none."""

    dims, in_channels, channels, strides = 2, 3, (4,), (1,)

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize(
    ("layer", "complaint"), [(nn.Conv2d(3, 4, 1), "too small to hold an edge"), (nn.Linear(3, 4), "no convolution")]
)
def test_encoders_without_a_place_for_filters_are_refused(layer: nn.Module, complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        Gabor().plan(Network(_Flat(layer), {}), None)
