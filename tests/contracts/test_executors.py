"""Every executor obeys the contract: all outcomes exactly once, exceptions as failures, empty input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from allograft.study.executors.local import LocalExecutor
from allograft.study.outcome import Done, Failed, RunKey, Waiting
from allograft.testing.executors import check_executor, synthetic_job, synthetic_key

Ended = Done | Failed | Waiting
Job = Callable[[RunKey], Ended]


@pytest.mark.parametrize("workers", [1, 2])
def test_local(workers: int) -> None:
    check_executor(LocalExecutor(workers))


@pytest.mark.slow
def test_ray_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from allograft.study.executors.ray import RayExecutor

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ended = []
    for outcome in RayExecutor(cpus=0.25).map(synthetic_job, [synthetic_key("quick", 0)]):
        ended.append(outcome)
        assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
        check_executor(RayExecutor(cpus=0.25), seeds=1)  # joins the cluster that is there: starting one takes long
        assert ray.is_initialized()
    assert len(ended) == 1
    assert not ray.is_initialized()


class Broken(LocalExecutor):
    """An executor with one fault."""

    def __init__(self, fault: Callable[[list[Ended]], list[Ended]]) -> None:
        super().__init__()
        self.fault = fault

    def map(self, job: Job, keys: Sequence[RunKey]) -> Iterator[Ended]:
        yield from self.fault(list(super().map(job, keys)))


class Raising(LocalExecutor):
    """An executor that lets a run's exception end the study."""

    def map(self, job: Job, keys: Sequence[RunKey]) -> Iterator[Ended]:
        yield from map(job, keys)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda found: found[1:], "ended 0 times"),
        (lambda found: found + found[:1], "ended 2 times"),
        (lambda found: [Failed(key=o.key, error="x", message="", traceback="") for o in found], "expected Done"),
    ],
)
def test_the_suite_can_say_no(fault: Callable[[list[Ended]], list[Ended]], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_executor(Broken(fault))


def test_the_suite_notices_an_exception_that_gets_out() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        check_executor(Raising())
