"""A real Ray cluster on loopback, a head and two worker nodes, one of which is killed in mid-study."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study as tiny

from allograft.study.conduct import conduct
from allograft.study.executors.local import LocalExecutor
from allograft.study.grid import read_study
from allograft.study.outcome import Done, Failed, Waiting
from allograft.study.prepared import Launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra allograft[ray]"),
]

RECIPES = [
    {"name": "scratch", "start": "scratch", "augment": "light"},
    {"name": "gabor", "start": "gabor"},
    {"name": "frozen-random", "start": "scratch", "tuning": "frozen"},
]
NODE: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others may use the memory of this machine
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tiny.private_home(tmp_path, monkeypatch)


@pytest.fixture
def cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors, so that every run needs one of the two workers."""
    import ray
    from ray.cluster_utils import Cluster

    assert home
    # Ray turns 127.0.0.1 into the address of a network card; on systems without clusters it leaves it.
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    found = Cluster(
        initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False}, connect=False
    )
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_a_worker_killed_in_mid_study_changes_no_byte(cluster: Any, tmp_path: Path) -> None:
    from allograft.study.executors.ray import RayExecutor

    study = read_study(tiny.study_file(tiny.real_pictures(tmp_path), RECIPES))
    launch = Launch(base=tmp_path, workers=1)
    conduct(study, tmp_path / "local", launch=launch, executor=LocalExecutor(1))
    expected = (tmp_path / "local" / "results.parquet").read_bytes()

    workers = [cluster.add_node(**NODE) for _ in range(2)]
    ended: list[Done | Failed | Waiting] = []
    gone: list[bool] = []

    def kill_after_the_first(outcome: Done | Failed | Waiting, total: int) -> None:
        ended.append(outcome)
        if len(ended) == 1:
            assert total == 9
            assert workers[0].any_processes_alive()
            cluster.remove_node(workers[0], allow_graceful=False)
            gone.append(not workers[0].any_processes_alive())

    # Four runs are handed over at a time, so that the worker is killed with one of them under way.
    executor = RayExecutor(address=cluster.address, pending=4)
    summary = conduct(study, tmp_path / "ray", launch=launch, executor=executor, on_outcome=kill_after_the_first)
    assert sorted(o.key.id for o in ended) == sorted({o.key.id for o in ended})
    assert len(ended) == 9
    assert summary.failures == ()
    assert gone == [True]
    assert (tmp_path / "ray" / "results.parquet").read_bytes() == expected
