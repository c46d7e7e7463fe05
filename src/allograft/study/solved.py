"""Solved: stages without steps, whose network is written at once; and how any finished stage is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from allograft.contracts import Started
from allograft.core.atomic import write_text
from allograft.nets.network import Network
from allograft.study.stage import StageRecord
from allograft.train.history import History
from allograft.weights.plan import TransferPlan

__all__ = ["NOTE", "kept_stage", "solve", "solved"]

NOTE = "solved at once, not by steps: optimiser, learning rates and budget play no part"


def solved(plan: TransferPlan) -> TransferPlan:
    """Return the plan of a network of which nothing learns by steps."""
    still = {entry.target: ((0, 0.0),) for entry in plan.entries}
    return plan.with_learns(still, tuning="").with_notes(NOTE)


def solve(stage: str, started: Started, fit: Callable[[Network], None]) -> StageRecord:
    """Let `fit` write the network's tensors and return the record of the stage."""
    fit(started.net)
    plan = solved(started.plan)
    return StageRecord(stage=stage, plan=plan, lr=0.0, search={}, search_steps=0, history=History(), notes=(NOTE,))


def kept_stage(folder: Path, net: Network, make: Callable[[], StageRecord], *, writes: bool = True) -> StageRecord:
    """Return the record of a stage, made now or read back from disk; its network holds what it led to.

    Args:
        folder: of the stage.
        net: what the stage changes.
        make: runs the stage.
        writes: whether this process keeps it on disk, as the first of several does.
    """
    record_path, weights_path = folder / "stage.json", folder / "net.safetensors"
    if record_path.exists():
        net.load_state_dict(load_file(weights_path))
        return StageRecord.model_validate_json(record_path.read_text(encoding="utf-8"))
    record = make()
    if not writes:
        return record
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, weights_path)
    write_text(record_path, record.model_dump_json())
    return record
