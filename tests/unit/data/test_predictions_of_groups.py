"""Scores of groups: the mean of frame probabilities, and groups that have no label of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.predictions import Predictions
from allograft.metrics.auroc import Auroc

CLASSES: dict[str, tuple[str, ...]] = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "multilabel": ("a", "b")}


def frames(kind: Any, targets: Any, groups: str) -> Predictions:
    task = Task(kind=kind, classes=CLASSES[kind], score_by="group")
    logits = np.random.default_rng(0).normal(size=(len(groups), task.outputs))
    p = {
        "binary": np.hstack([1 - special.expit(logits), special.expit(logits)]),
        "multilabel": special.expit(logits),
    }.get(kind, special.softmax(logits, axis=1))
    ids = tuple(f"frame{i}" for i in range(len(groups)))
    return Predictions(
        task=task,
        ids=ids,
        groups=tuple(groups),
        logits=logits.astype(np.float32),
        probabilities=p,
        targets=np.array(targets),
    )


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("binary", [1, 0, 1, 0, -1]),
        ("multiclass", [2, 0, 2, 0, -1]),
        ("multilabel", [[1, 0], [0, -1], [1, 0], [0, 1], [1, -1]]),
    ],
)
def test_a_groups_score_is_the_mean_of_its_frames(kind: str, targets: Any) -> None:
    p = frames(kind, targets, "vwvwv")
    found = p.of_groups()
    assert found.ids == found.groups == ("v", "w")
    np.testing.assert_allclose(found.probabilities[0], p.probabilities[[0, 2, 4]].mean(0))
    np.testing.assert_allclose(found.probabilities[1], p.probabilities[[1, 3]].mean(0))
    again = special.softmax(found.logits, 1) if kind == "multiclass" else special.expit(found.logits)
    np.testing.assert_allclose(
        again, found.probabilities[:, 1:] if kind == "binary" else found.probabilities, atol=1e-6
    )
    expected = [targets[0], [0, 1] if kind == "multilabel" else targets[1]]
    np.testing.assert_array_equal(found.targets, expected)


def test_groups_can_be_right_where_single_frames_are_not() -> None:
    p = frames("binary", [1, 1, 1, 0, 0, 0], "vvvwww")
    yes = np.array([0.9, 0.8, 0.1, 0.3, 0.2, 0.6])
    p = Predictions(**{**vars(p), "probabilities": np.stack([1 - yes, yes], 1)})
    assert Auroc().value(p) < 1
    assert Auroc().value(p.of_groups()) == 1


def test_a_group_of_different_labels_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"group v.*different labels"):
        frames("binary", [1, 0, 0], "vvw").of_groups()


def test_tasks_without_probabilities_cannot_score_groups() -> None:
    with pytest.raises(ValueError, match="score_by"):
        Task(kind="segmentation", classes=("a", "b"), score_by="group")
