"""RunStore: what a kill in the middle of finishing leaves is swept, what is unfinished stays."""

from __future__ import annotations

from pathlib import Path

from allograft.study.store import RunStore


def test_left_overs_of_finished_runs_are_swept_and_unfinished_work_stays(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.finishing("a1") as aside:
        (aside / "outcome.json").write_text("{}")
    (store.work_folder("a1") / "first").mkdir(parents=True)
    hidden = tmp_path / "runs" / ".a1.tmp"
    hidden.mkdir()
    (store.work_folder("b2") / "first").mkdir(parents=True)
    store.sweep(["a1"])
    assert not store.work_folder("a1").exists()
    assert not hidden.exists()
    assert (store.run_folder("a1") / "outcome.json").exists()
    assert (store.work_folder("b2") / "first").exists()
