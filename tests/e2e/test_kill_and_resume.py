"""A study killed with SIGKILL at random moments and started again ends with the same file, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_study as tiny

from allograft.study.store import RunStore

# A procedure that writes a checkpoint at every step, so that kills also fall between a stage's steps.
EAGER = """
from typing import ClassVar
from allograft.contracts import HOUSE, Method
from allograft.core.reference import Reference
from allograft.study import stage

class Eager(Method):
    name: ClassVar[str] = "eager"
    paper: ClassVar[Reference] = HOUSE
    def run(self, lab):
        before, stage.SAVE_SECONDS = stage.SAVE_SECONDS, 0.0
        try:
            first = lab.train("first", lab.start(), share=0.5)
            return lab.train("second", lab.start(), share=0.5)
        finally:
            stage.SAVE_SECONDS = before
"""
RECIPES = [
    {"name": "eager", "start": "scratch", "procedure": "eager_of_tests:Eager", "augment": "light"},
    {"name": "frozen-random", "start": "scratch", "tuning": "frozen"},
    {"name": "gabor", "start": "gabor"},
]
RUNS = 3 * len(RECIPES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], bytes]]:
    """The study file, the environment, and the results of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "eager_of_tests.py").write_text(EAGER)
    with pytest.MonkeyPatch.context() as patch:
        home = tiny.private_home(folder, patch)
        patch.syspath_prepend(folder)
        long = {"budget": {"steps": 40, "batch": 4}}
        file = tiny.study_file(tiny.real_pictures(folder), RECIPES, search={"lrs": [1e-3, 1e-2]}, common=long)
        whole = tiny.run(*command(file, folder / "whole", 1))
        assert whole.exit_code == 0, whole.output
        variables = {**os.environ, "ALLOGRAFT_HOME": str(home), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        yield file, variables, (folder / "whole" / "results.parquet").read_bytes()


def command(file: Path, out: Path, workers: int) -> tuple[object, ...]:
    return ("study", file, "--out", out, "--workers", workers, "--plugin", "eager_of_tests")


def start(file: Path, out: Path, workers: int, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the study as a process group of its own, with one processor for each worker."""
    processors = sorted(os.sched_getaffinity(0))[:workers]
    pinned = ["taskset", "-c", ",".join(map(str, processors))]
    allograft = [sys.executable, "-c", "from allograft.cli import main; main()"]
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(
        [*pinned, *allograft, *map(str, command(file, out, workers))],
        env=variables,
        start_new_session=True,
        stdout=log,
        stderr=log,
    )


def wait_for(moment: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 240) -> bool:
    """Wait until something is seen; False where the process ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            return False
        if moment():
            return True
        time.sleep(0.01)
    pytest.fail("the study does not get on")


def some(folder: Path, pattern: str, least: int = 1) -> bool:
    return sum(1 for _ in folder.glob(pattern)) >= least


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_anywhere_and_resumed_gives_the_same_bytes(
    workers: int, prepared: tuple[Path, dict[str, str], bytes], tmp_path: Path
) -> None:
    file, variables, expected = prepared
    out, rng, killed = tmp_path / "out", random.Random(workers), []
    moments = {
        "while data are read": out.exists,
        "in a search or stage": lambda: some(out, "work/*/*/*/*"),
        "between stages": lambda: some(out, "work/*/first/stage.json"),
        "after a run": lambda: some(out, "runs/*/outcome.json", 1 + RUNS // 2),
    }
    chosen = [*moments] if workers == 1 else ["in a search or stage", "after a run"]
    for name in chosen:
        moment = moments[name]
        process = start(file, out, workers, variables)
        if wait_for(moment, process):
            time.sleep(rng.uniform(0, 0.7))
            os.killpg(process.pid, signal.SIGKILL)
            killed.append(name)
        process.wait()
    assert not (out / "results.parquet").exists()
    assert killed == chosen
    last = start(file, out, workers, variables)
    assert last.wait(timeout=300) == 0, (tmp_path / "out.log").read_text()
    assert (out / "results.parquet").read_bytes() == expected
    assert len(RunStore(out).study()["keys"]) == RUNS
    assert not some(out, "work/*")
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_workers_end_when_only_the_study_s_own_process_is_killed(
    prepared: tuple[Path, dict[str, str], bytes], tmp_path: Path
) -> None:
    import psutil

    file, variables, _ = prepared
    out = tmp_path / "out"
    process = start(file, out, 2, variables)
    assert wait_for(lambda: some(out, "work/*/*/*"), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert not alive
    assert gone
