"""Every start obeys the contract of starts, for 2-D to 2-D, 2-D to 3-D and 3-D to 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.catalog import STARTS
from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.starts.full import Full
from allograft.starts.gabor import Gabor
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.starts.slim import Slim
from allograft.testing.starts import check_refuses, check_start, check_values
from allograft.testing.tiny import tiny_net
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule
from allograft.weights.source import SourceWeights
from tiny_source import tiny_source, trained_net

SLIM = {"widths": (4, 6, 4)}
CASES: list[tuple[Method, dict[str, Any]]] = [
    (Scratch(), {}),
    (Full(), {}),
    (Full(fill="centre"), {}),
    (Full(channels="cycle"), {"in_channels": 1}),
    (Full(), {"in_channels": 4}),
    (Full(), {"decoder": True}),
    (Partial(), {}),
    (Partial(k=0), {}),
    (Partial(k=3), {}),
    (Partial(until="stage1", rest="mean_var"), {}),
    (MeanVar(), {}),
    (MeanVar(norm="sample"), {"in_channels": 1}),
    (MeanVar(norm="copy"), {}),
    (Slim(until="stage1"), SLIM),
    (Gabor(), {}),
    (Gabor(rest="source"), {"decoder": True}),
]
IDS = [f"{start.name}-{i}" for i, (start, _) in enumerate(CASES)]
DIMS = [(2, 2), (2, 3), (3, 3)]


def test_every_start_of_the_catalog_is_here() -> None:
    assert {start.name for start, _ in CASES} == set(STARTS)


@pytest.mark.parametrize(("source_dims", "dims"), DIMS)
@pytest.mark.parametrize(("start", "options"), CASES, ids=IDS)
def test_contract(start: Method, options: dict[str, Any], source_dims: int, dims: int, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(source_dims))
    check_start(start, lambda: tiny_net(dims, **options), source)


@pytest.mark.parametrize(("source_dims", "dims"), DIMS)
@pytest.mark.parametrize("start", [Full(decoder="copy"), MeanVar(decoder="sample")])
def test_a_decoder_comes_from_a_source_that_has_it(start: Method, source_dims: int, dims: int, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(source_dims, decoder=True))
    plan, _ = check_start(start, lambda: tiny_net(dims, decoder=True), source)
    taken = {entry.source for entry in plan.entries if entry.stage == "decoder"}
    assert taken == {"decoder.conv.weight", "decoder.conv.bias"}


@pytest.mark.parametrize(("start", "options"), CASES, ids=IDS)
def test_wrong_names_are_problems_never_silence(start: Method, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    good = tiny_source(tmp_path, trained_net(2))
    wrong = tiny_source(tmp_path / "wrong", trained_net(2), prefix="module.")
    if isinstance(start, Slim):  # it cannot compare widths with a source of other names
        with pytest.raises(PlanError, match="no layer that the source has too"):
            start.plan(tiny_net(2, **options), wrong)
        return
    check_refuses(start, lambda: tiny_net(2, **options), good, wrong)


@pytest.mark.parametrize("start", [Scratch(), Gabor(), Partial(k=0)])
@pytest.mark.parametrize("dims", [2, 3])
def test_without_a_source(start: Method, dims: int) -> None:
    plan, _ = check_start(start, lambda: tiny_net(dims), None)
    assert plan.source is None


class _Forgetful(Scratch):
    """A start that loses a row."""

    def plan(self, net: Any, source: SourceWeights | None) -> TransferPlan:
        plan = super().plan(net, source)
        return plan.model_copy(update={"entries": plan.entries[1:]})


class _Meddling(Scratch):
    """A start that writes while it plans."""

    def plan(self, net: Any, source: SourceWeights | None) -> TransferPlan:
        with torch.no_grad():
            next(net.parameters()).add_(1.0)
        return super().plan(net, source)


class _Boastful(Scratch):
    """A start that says copied and copies nothing."""

    def plan(self, net: Any, source: SourceWeights | None) -> TransferPlan:
        plan = build_plan(net, source, (Rule(action=Action.FRESH, why="x"),), start=self.name)
        entries = tuple(e.model_copy(update={"learns": ((0, 0.0),)}) for e in plan.entries)
        return plan.model_copy(update={"entries": entries})


@pytest.mark.parametrize(
    ("start", "complaint"),
    [(_Forgetful(), "one row per key"), (_Meddling(), "changed"), (_Boastful(), "tuning says learning")],
)
def test_the_suite_can_say_no(start: Method, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_start(start, lambda: tiny_net(2), None)


def test_the_suite_notices_rows_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = Full().plan(tiny_net(2), source)

    def idle(plan: TransferPlan, net: Network, source: SourceWeights | None, *, seed: int) -> None:
        """Write nothing."""

    def noisy(plan: TransferPlan, net: Network, source: SourceWeights | None, *, seed: int) -> None:
        with torch.no_grad():
            next(net.parameters()).copy_(torch.randn(next(net.parameters()).shape))

    monkeypatch.setattr("allograft.testing.starts.apply", idle)
    with pytest.raises(AssertionError, match="said to be copied and is not equal"):
        check_values(plan, lambda: tiny_net(2), source)
    monkeypatch.setattr("allograft.testing.starts.apply", noisy)
    with pytest.raises(AssertionError, match="same seed gives other values"):
        check_values(plan, lambda: tiny_net(2), source)
