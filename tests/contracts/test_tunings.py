"""Every tuning obeys the contract of tunings, after every start, in 2-D and 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allograft.catalog import STARTS, TUNINGS
from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.starts.full import Full
from allograft.starts.gabor import Gabor
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.starts.slim import Slim
from allograft.testing.starts import check_start
from allograft.testing.tiny import tiny_net
from allograft.testing.tunings import check_tuning
from allograft.tunings.full import FullTuning
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action
from allograft.weights.schedule import FROZEN
from hand_plan import hand_plan
from tiny_source import tiny_source, trained_net

CASES: list[tuple[Method, dict[str, Any]]] = [
    (Scratch(), {}),
    (Full(), {"decoder": True}),
    (Partial(k=1), {}),
    (MeanVar(), {}),
    (Slim(until="stage1"), {"widths": (4, 6, 4)}),
    (Gabor(), {}),
    (Gabor(rest="source"), {}),
]
IDS = [f"{start.name}-{i}" for i, (start, _) in enumerate(CASES)]
OWN = {Action.FRESH, Action.COMPUTE, Action.SAMPLE}


def test_every_start_of_the_catalog_is_here() -> None:
    assert {start.name for start, _ in CASES} == set(STARTS)


@pytest.mark.parametrize(("source_dims", "dims"), [(2, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize(("start", "options"), CASES, ids=IDS)
def test_every_tuning_after_every_start(
    start: Method, options: dict[str, Any], source_dims: int, dims: int, tmp_path: Path
) -> None:
    source = tiny_source(tmp_path, trained_net(source_dims))
    plan, net = check_start(start, lambda: tiny_net(dims, **options), source)
    nothing_transferred = all(entry.action in OWN for entry in plan.entries)
    for name, tuning in TUNINGS.items():
        assert name == tuning.name
        if name == "l2_sp" and nothing_transferred:
            with pytest.raises(PlanError, match="no starting point"):
                tuning().learn(plan, 100)
        else:
            check_tuning(tuning(), plan, net)


class _Idle(FullTuning):
    """A tuning of another name that does what "full" does, without a word."""

    name = "idle"


class _Lazy(FullTuning):
    """A tuning that freezes the heads."""

    name = "lazy"

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        return plan.with_learns({e.target: FROZEN for e in plan.entries}, tuning=self.name)


class _Late(FullTuning):
    """A tuning whose schedule ends after the run."""

    name = "late"

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        late = {e.target: ((0, 0.0), (steps, 1.0)) for e in plan.entries if e.stage == "stem"}
        return plan.with_learns(late, tuning=self.name)


@pytest.mark.parametrize(
    ("tuning", "complaint"),
    [(_Idle(), "does nothing and does not say so"), (_Lazy(), "heads always learn"), (_Late(), "never reached")],
)
def test_the_suite_can_say_no(tuning: Method, complaint: str) -> None:
    net = tiny_net(2)
    with pytest.raises(AssertionError, match=complaint):
        check_tuning(tuning, hand_plan(net), net)
