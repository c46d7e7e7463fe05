"""Scoring: a study file scored beside its folder, which it leaves as the study left it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allograft.core.atomic import write_text
from allograft.study.conduct import require_sound_plans
from allograft.study.grid import Study
from allograft.study.prepared import Launch, prepare, processors
from allograft.study.score import score_study
from allograft.study.scores import Scores

__all__ = ["score_file"]


def score_file(
    study: Study,
    folder: Path,
    *,
    base: Path,
    plugins: tuple[str, ...] = (),
    by: Sequence[str] = (),
    fraction: float | None = None,
    tick: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Scores:
    """Score the starts of a study; in its folder images, features and estimates are kept, and `scores.json`.

    Args:
        study: the study.
        folder: its folder, new or with finished runs; what it says of the study does not change.
        base: folder that relative paths start from.
        plugins: modules whose methods the study names.
        by: estimators, the first ranks.
        fraction: share of the training labels.
        tick: called with what is done, of how much, and what is under way.

    Raises:
        ConfigError, DataError, PlanError, ResumeError: what is wrong, before any feature is computed.
    """
    folder = folder.resolve()
    path = folder / "study.json"
    before = path.read_text(encoding="utf-8") if path.exists() else None
    launch = Launch(base=base, workers=processors(), plugins=plugins)
    try:
        prepared = prepare(
            study, folder, launch=launch, progress=lambda done, total: tick(done, total, "images looked at")
        )
    finally:
        if before is not None:
            write_text(path, before)
    require_sound_plans(prepared)
    scores = score_study(prepared, by=by, fraction=fraction, tick=tick)
    write_text(folder / "scores.json", scores.model_dump_json(indent=1))
    return scores
