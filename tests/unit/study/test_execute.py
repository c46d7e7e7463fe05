import os
import signal
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from allograft.core.errors import ResumeError
from allograft.study.execute import execute, rounds
from allograft.study.executors.local import LocalExecutor
from allograft.study.outcome import Done, Failed, RunKey
from allograft.study.store import RunStore


def key(recipe: str, seed: int = 0) -> RunKey:
    return RunKey(id=f"{recipe}-{seed}", recipe=recipe, dataset="d", fold=0, seed=seed, label_fraction=1.0)


KEYS = [key(recipe, seed) for seed in (1, 0) for recipe in ("a", "b", "c")]


def finish(one: RunKey, folder: Path) -> Done:
    outcome = Done(
        key=one, lr=1.0, coverage={}, scores={"m": 1.0}, seconds={"all": 0.1}, peak_memory_mb=1.0, environment={}
    )
    with RunStore(folder).finishing(one.id) as aside:
        rows = {"case": ["x", "y"], "unit": ["u", "v"], "metric": ["m", "m"], "value": [float(one.seed), 2.0]}
        pd.DataFrame(rows).to_parquet(aside / "metrics-test.parquet")
        (aside / "outcome.json").write_text(outcome.model_dump_json())
    return outcome


def job(one: RunKey, folder: Path) -> Done | Failed:
    if one.recipe == "b":
        return Failed(key=one, error="DataError", message="on purpose", traceback="")
    return finish(one, folder)


def dies_once(one: RunKey, folder: Path) -> Done:
    marker = folder / f"died-{one.id}"
    if one.recipe == "c" and not marker.exists():
        marker.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(one, folder)


def dies_always(one: RunKey, folder: Path) -> Done:
    if one.recipe == "c":
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(one, folder)


def test_rounds_hold_every_recipe_at_one_seed():
    assert [{k.seed for k in batch} for batch in rounds(KEYS)] == [{0}, {1}]
    assert all(len(batch) == 3 for batch in rounds(KEYS))


def test_finished_runs_are_skipped_failures_kept_and_retried(tmp_path):
    store = RunStore(tmp_path)
    seen = []
    execute(KEYS, store, LocalExecutor(), partial(job, folder=tmp_path), report=seen.append)
    assert len(seen) == 6
    assert isinstance(store.outcome("b-0"), Failed)
    seen.clear()
    execute(KEYS, store, LocalExecutor(), partial(finish, folder=tmp_path), report=seen.append)
    assert sorted(o.key.id for o in seen) == ["b-0", "b-1"]
    assert isinstance(store.outcome("b-0"), Done)
    assert not list((tmp_path / "failed").iterdir())


def test_results_do_not_depend_on_order(tmp_path):
    for name, keys in (("one", KEYS), ("two", KEYS[::-1])):
        store = RunStore(tmp_path / name)
        execute(keys, store, LocalExecutor(), partial(finish, folder=tmp_path / name))
        store.write_results([k.id for k in keys])
    assert (tmp_path / "one/results.parquet").read_bytes() == (tmp_path / "two/results.parquet").read_bytes()


def test_time_limit_stops_between_whole_seeds(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("allograft.study.execute.time.monotonic", lambda: float(next(clock)))
    asked = execute(KEYS, RunStore(tmp_path), LocalExecutor(), partial(finish, folder=tmp_path), seconds=25)
    assert {k.seed for k in asked} == {0}
    assert len(asked) == 3


def test_processes_give_every_outcome_once_and_survive_a_killed_worker(tmp_path):
    keys = [key(recipe) for recipe in "abcd"]
    outcomes = list(LocalExecutor(workers=2).map(partial(dies_once, folder=tmp_path), keys))
    assert sorted(o.key.id for o in outcomes) == [k.id for k in keys]
    assert all(isinstance(o, Done) for o in outcomes)


def test_a_run_that_always_kills_its_worker_becomes_a_failure(tmp_path):
    keys = [key("c"), key("c", 1), key("a"), key("b"), key("d")]
    outcomes = {o.key.id: o for o in LocalExecutor(workers=2).map(partial(dies_always, folder=tmp_path), keys)}
    assert {name for name, o in outcomes.items() if isinstance(o, Failed)} == {"c-0", "c-1"}
    assert outcomes["c-0"].error == "WorkerLost"
    assert len(outcomes) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_no_runs_no_outcomes(workers):
    assert list(LocalExecutor(workers=workers).map(lambda one: None, [])) == []


def test_another_studys_folder_is_never_touched(tmp_path):
    store = RunStore(tmp_path / "s")
    store.claim({"study": "one", "datasets": ["d"], "recipes": [1]})
    store.claim({"study": "one", "datasets": ["d"], "recipes": [1, 2]})
    with pytest.raises(ResumeError, match='study: there "one", now "two"'):
        store.claim({"study": "two", "datasets": ["d"]})
    assert store.study()["recipes"] == [1, 2]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(ResumeError, match="not empty and not a study"):
        RunStore(other).claim({"study": "one"})
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_store_opens_without_torch():
    import subprocess
    import sys

    code = "import sys, allograft.study.store, allograft.study.summary; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
