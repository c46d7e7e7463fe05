"""Slim: full width and source values below, fewer channels and own values above."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.nets.encoders.cbr import CBR, CBR_FORMS, CBRForm
from allograft.nets.network import Network, parameter_count
from allograft.starts.slim import Slim
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights
from hand_loop import changed, snapshot
from tiny_source import tiny_source, trained_net

WIDE, NARROW = (4, 8, 8, 8), (4, 8, 4, 4)


@pytest.mark.parametrize("dims", [2, 3])
def test_bit_equal_up_to_the_stage_and_as_built_above(dims: int, tmp_path: Path) -> None:
    donor = trained_net(dims, widths=WIDE)
    source = tiny_source(tmp_path, donor)
    net = tiny_net(dims, widths=NARROW)
    before = snapshot(net)
    apply(Slim(until="stage1").plan(net, source), net, source, seed=0)
    after = snapshot(net)
    low = {name for name in after if name.startswith(("encoder.stem", "encoder.layer1"))}
    assert changed(before, after) == low
    assert not changed({name: after[name] for name in low}, donor.state_dict())


def test_the_network_is_smaller_than_the_source_s() -> None:
    assert parameter_count(tiny_net(2, widths=NARROW)) < 0.8 * parameter_count(tiny_net(2, widths=WIDE))


@pytest.mark.parametrize(("widths", "stage"), [(WIDE, "stage2"), ((4, 8, 4, 8), "stage3"), ((4, 8, 16, 4), "stage2")])
def test_a_stage_of_full_width_is_refused_not_called_slim(widths: tuple[int, ...], stage: str, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, widths=WIDE))
    with pytest.raises(PlanError, match=f'stage "{stage}" is not narrower.*start "partial"'):
        Slim(until="stage1").plan(tiny_net(2, widths=widths), source)


def test_stages_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, widths=WIDE))
    with pytest.raises(PlanError, match='Did you mean "stage1"'):
        Slim(until="stag1").plan(tiny_net(2, widths=NARROW), source)
    with pytest.raises(PlanError, match='no stage lies above "stage3"'):
        Slim(until="stage3").plan(tiny_net(2, widths=NARROW), source)


@pytest.mark.parametrize("dims", [2, 3])
def test_cbr_tiny_s_upper_half_can_be_halved(dims: int) -> None:
    donor = Network(CBR(CBR_FORMS["cbr_tiny"], dims=dims), {})
    source = SourceWeights.of(donor, "own", InputSpec(size=(16,) * dims), "cbr_tiny")
    net = Network(CBR(CBRForm(5, (32, 64, 64, 128)), dims=dims), {})
    plan = Slim(until="stage1").plan(net, source)
    apply(plan, net, source, seed=0)
    assert plan.problems == ()
    assert {e.stage: e.action for e in plan.entries} == {
        "stem": Action.COPY,
        "stage1": Action.COPY,
        "stage2": Action.FRESH,
        "stage3": Action.FRESH,
    }
    assert torch.equal(net.state_dict()["encoder.unit2.conv.weight"], donor.state_dict()["encoder.unit2.conv.weight"])


def test_without_a_source_the_plan_has_problems() -> None:
    assert Slim(until="stage1").plan(tiny_net(2, widths=NARROW), None).problems
