"""What the logs of stages without labels say: learnt or not, collapsed or not, in numbers and words. All synthetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allograft.stats.intervals import t_interval
from allograft.study.outcome import RunKey
from allograft.study.pretext_stage import COLLAPSED, PICTURES, PretextStage
from allograft.study.pretexts import one_pretext, read_pretexts
from allograft.study.store import RunStore


def stage(first: dict[str, float] | None, *rows: dict[str, float], task: str = "rotation") -> dict[str, Any]:
    """A stage as a run's log holds it: what was seen before the first step, then after 10, 20, ..."""
    seen = [{"step": 10 * (i + 1), "lr": 0.1, "train": {}, "validation": row} for i, row in enumerate(rows)]
    return {"stage": "pretext", "objective": task, "began": first or {}, "history": {"rows": seen}}


def right(accuracy: float, spread: float = 0.3, **more: float) -> dict[str, float]:
    return {"held_out_loss": 1.0, "held_out_accuracy": accuracy, "held_out_chance": 0.25, "spread": spread, **more}


def read(folder: Path, runs: list[tuple[int, int, dict[str, Any]]], recipe: str = "r") -> PretextStage:
    """Write synthetic runs (fold, seed, stage) and return the one stage that is found."""
    (found,) = read_pretexts(RunStore(folder), written(folder, runs, recipe))
    return found


def written(folder: Path, runs: list[tuple[int, int, dict[str, Any]]], recipe: str = "r") -> list[RunKey]:
    keys = []
    finetune = {"stage": "finetune", "history": {"rows": [{"step": 1, "validation": {"score": 0.5}}]}}
    for fold, seed, one in runs:
        name = f"{recipe}{fold}{seed}".ljust(16, "0")
        key = RunKey(id=name, recipe=recipe, dataset="cases", fold=fold, seed=seed, label_fraction=1.0)
        (folder / "runs" / key.id).mkdir(parents=True)
        (folder / "runs" / key.id / "stages.json").write_text(json.dumps([one, finetune]))
        keys.append(key)
    return keys


def test_a_synthetic_task_is_learnt_where_both_intervals_over_folds_are_above_zero(tmp_path: Path) -> None:
    ends = ((0.8, 0.7), (0.75, 0.73), (0.9, 0.8))  # folds with two seeds each
    runs = [(f, s, stage(right(0.26), right(0.4), right(v))) for f, each in enumerate(ends) for s, v in enumerate(each)]
    found = read(tmp_path, runs)
    assert (found.told, found.measure, found.runs, found.folds, found.task) == ("learnt", "accuracy", 6, 3, "rotation")
    over = np.array([np.mean(each) - 0.25 for each in ends])
    assert found.score is not None
    assert (found.score.low, found.score.high) == pytest.approx(t_interval(over)[:2])
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(np.mean(over) - 0.01)
    assert found.lines["held_out_accuracy"].x == (0.0, 10.0, 20.0)
    assert found.lines["held_out_accuracy"].mean == pytest.approx((0.26, 0.4, np.mean(ends)))
    assert found.sentences[0].startswith("The task is learnt")
    assert "78\N{NO-BREAK SPACE}%" in found.sentences[0]
    assert "by chance 25\N{NO-BREAK SPACE}%" in found.sentences[0]


def test_what_an_untrained_synthetic_network_does_as_well_is_not_called_learnt(tmp_path: Path) -> None:
    """Views of an image look alike to any network: above chance from the start, and no better at the end."""
    seen = [
        ({"retrieval": a, "retrieval_chance": 0.02, "spread": 0.2}, b)
        for a, b in ((0.5, 0.49), (0.6, 0.61), (0.55, 0.54))
    ]
    runs = [
        (f, 0, stage({**a, "held_out_loss": 2.0}, {**a, "retrieval": b, "held_out_loss": 1.0}, task="byol"))
        for f, (a, b) in enumerate(seen)
    ]
    found = read(tmp_path, runs)
    assert (found.told, found.measure) == ("better than chance", "retrieval")
    assert "not shown to be better than before the first step" in found.sentences[0]


def test_a_synthetic_task_that_got_worse_is_said_to_be_worse(tmp_path: Path) -> None:
    found = read(tmp_path, [(f, 0, stage(right(0.9), right(0.5 + 0.01 * f))) for f in range(3)])
    assert found.told == "better than chance"
    assert "but worse than before the first step" in found.sentences[0]


def test_older_synthetic_logs_without_a_first_look_are_told_as_such(tmp_path: Path) -> None:
    found = read(tmp_path, [(f, 0, stage(None, right(0.8 + 0.01 * f))) for f in range(3)])
    assert found.told == "better than chance"
    assert "is not recorded" in found.sentences[0]
    assert found.gain is None


@pytest.mark.parametrize("ends", [(0.2, 0.25, 0.3), (0.2, 0.21, 0.2)])
def test_synthetic_answers_at_or_below_chance_are_not_shown_to_be_learnt(
    tmp_path: Path, ends: tuple[float, ...]
) -> None:
    found = read(tmp_path, [(f, 0, stage(right(0.25), right(end))) for f, end in enumerate(ends)])
    assert found.told == "not shown"
    assert found.sentences[0].startswith("It is not shown")


@pytest.mark.parametrize("folds", [1, 2])
def test_with_few_folds_nobody_can_tell_however_many_seeds(tmp_path: Path, folds: int) -> None:
    found = read(tmp_path, [(f, s, stage(right(0.25), right(0.9))) for f in range(folds) for s in range(4)])
    assert found.told == "cannot tell"
    assert found.score is not None
    assert (found.score.low, found.score.n_units) == (None, folds)
    assert f"too few test folds ({folds})" in found.sentences[0]


@pytest.mark.parametrize("guess", ["unrestored", "mean_guess"])
@pytest.mark.parametrize(("loss", "told"), [(0.4, "learnt"), (1.1, "not shown")])
def test_synthetic_restorations_are_held_against_their_trivial_guess(
    tmp_path: Path, guess: str, loss: float, told: str
) -> None:
    def row(value: float) -> dict[str, float]:
        return {"held_out_loss": value, f"held_out_{guess}": 0.8, "spread": 0.2}

    found = read(tmp_path, [(f, 0, stage(row(2.0), row(0.8 * loss + 0.01 * f))) for f in range(3)])
    assert (found.told, found.measure) == (told, "restored")
    assert found.last("restored") == pytest.approx(1 - (loss + 0.0125))
    assert found.last("guess") == pytest.approx(0.8)
    assert f"is {100 * loss + 1.25:.0f}\N{NO-BREAK SPACE}% of a trivial guess's" in found.sentences[0]


def test_of_several_trivial_guesses_the_best_counts_so_that_a_grey_image_restores_nothing(tmp_path: Path) -> None:
    row = {"held_out_loss": 0.05, "held_out_unrestored": 0.15, "held_out_mean_guess": 0.04, "spread": 0.2}
    found = read(tmp_path, [(f, 0, stage(row, row)) for f in range(3)])
    assert found.told == "not shown"
    assert found.last("restored") == pytest.approx(-0.25)


def test_collapsed_synthetic_runs_are_counted_and_the_threshold_is_ours(tmp_path: Path) -> None:
    ends = (0.3, COLLAPSED - 0.001, COLLAPSED + 0.001)
    found = read(tmp_path, [(f, 0, stage(right(0.25), right(0.5, spread=v))) for f, v in enumerate(ends)])
    assert found.collapsed == 1
    assert "collapsed in 1 of 3 runs" in found.sentences[1]
    assert "a threshold of ours" in found.sentences[1]
    sound = read(tmp_path / "sound", [(0, 0, stage(right(0.25), right(0.5)))])
    assert "did not collapse" in sound.sentences[1]


@pytest.mark.parametrize(
    ("ends", "said"),
    [((0.7, 0.72, 0.71), "a rise"), ((0.3, 0.32, 0.31), "a fall"), ((0.4, 0.5, 0.6), "no change shown")],
)
def test_what_synthetic_neighbours_did_between_first_and_last_look(
    tmp_path: Path, ends: tuple[float, ...], said: str
) -> None:
    runs = [(f, 0, stage(right(0.25, knn=0.5), right(0.4, knn=0.9), right(0.8, knn=v))) for f, v in enumerate(ends)]
    found = read(tmp_path, runs)
    assert found.moved["knn"].mean == pytest.approx(np.mean(ends) - 0.5)
    assert said in found.sentences[2]
    assert "probe" not in found.moved


def test_stages_that_nobody_watched_are_left_out_and_recipes_keep_their_order(tmp_path: Path) -> None:
    plain = stage(None, {"score": 0.5})
    keys = written(tmp_path, [(0, 0, right_stage())], "b") + written(tmp_path, [(0, 0, plain)], "plain")
    keys += written(tmp_path, [(0, 0, right_stage())], "a")
    assert [one.recipe for one in read_pretexts(RunStore(tmp_path), keys)] == ["b", "a"]
    assert one_pretext(plain, dataset="cases", recipe="r") is None


def right_stage() -> dict[str, Any]:
    return stage(right(0.25), right(0.5))


def test_pictures_are_those_of_the_first_run_that_has_some(tmp_path: Path) -> None:
    keys = written(tmp_path, [(f, 0, right_stage()) for f in range(3)])
    for key in keys[1:]:
        (tmp_path / "runs" / key.id / PICTURES).write_bytes(b"x")
    (found,) = read_pretexts(RunStore(tmp_path), keys)
    assert found.pictures == tmp_path / "runs" / keys[1].id / PICTURES


def test_one_synthetic_stage_alone_can_be_shown_but_proves_nothing(tmp_path: Path) -> None:
    found = one_pretext(right_stage(), dataset="folder", recipe="rotation", pictures=tmp_path / "none.npz")
    assert found is not None
    assert (found.told, found.runs, found.pictures) == ("cannot tell", 1, None)
