"""Pseudo-labels: what is chosen, worked by hand and against brute force; all cases are synthetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.data.proposals import Proposals
from allograft.data.pseudo_labels import (
    Answers,
    answers_of,
    collapse,
    confident,
    listed,
    mask_answers,
    surest_masks,
    top_per_class,
)
from allograft.data.roster import Roster
from allograft.data.split import Fold
from allograft.data.unlabelled import without_label
from allograft.nets.network import Output
from allograft.objectives.task_loss import task_loss

ABC = Task(kind="multiclass", classes=("a", "b", "c"))
TABLE = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]])


def pool(count: int, task: Task = ABC, **fields: object) -> Cohort:
    cases = tuple(Case(id=f"c{i}", image=(), group=f"g{i // 2}") for i in range(count))
    return Cohort(name="synthetic", task=task, cases=cases, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("top", "per_image", "want"),
    [
        (2, 1, ((0, 1), (2, 3), (5,))),  # rows 1 and 4 both say 0.5 of class 0: the smaller index
        (3, 1, ((0, 1, 4), (2, 3), (5,))),
        (2, 2, ((0, 1), (2, 3), (5, 4))),
        (3, 2, ((0, 1, 4), (2, 3, 1), (5, 4))),
        (9, 2, ((0, 1, 4, 3, 5, 2), (2, 3, 1, 0), (5, 4))),  # equal second classes: the smaller one
    ],
)
def test_top_per_class_of_a_table_worked_by_hand(top: int, per_image: int, want: tuple[tuple[int, ...], ...]) -> None:
    assert top_per_class(TABLE, top, per_image) == want


def test_top_per_class_equals_brute_force_with_ties() -> None:
    rng = np.random.default_rng(0)
    for per_image in (1, 2, 3):
        table = rng.integers(0, 4, (40, 3)) / 10
        found = top_per_class(table, 5, per_image)
        for which in range(3):
            named = [i for i in range(40) if which in sorted(range(3), key=lambda k: (-table[i, k], k))[:per_image]]
            assert found[which] == tuple(sorted(named, key=lambda i: (-table[i, which], i))[:5])


def test_listed_cases_have_the_loss_of_one_copy_for_each_list() -> None:
    lists = top_per_class(TABLE, 2, 2)
    chosen = listed(pool(6), lists)
    assert chosen.counts == (2, 2, 2)
    assert chosen.cohort.weights is not None
    torch.manual_seed(0)
    logits = torch.randn(6, 3)
    copies = [F.cross_entropy(logits[[i]], torch.tensor([k])) for k, rows in enumerate(lists) for i in rows]
    roster = Roster(cohort=chosen.cohort, batch=len(chosen.cohort))
    cases = chosen.cohort.cases
    targets, present = roster.numbers(cases)
    rows = [int(case.id[1:]) for case in cases]
    batch = Batch(image=torch.zeros(1), targets=targets, present=present, weight=roster.weight(cases))
    loss = task_loss(ABC)(Output((), logits, {"label": logits[rows]}), batch)
    torch.testing.assert_close(loss.total, torch.stack(copies).mean())


def test_listed_classes_of_few_images_count_as_much_as_the_others() -> None:
    chosen = listed(pool(6), ((0, 1, 2, 3), (4,), ()))
    weights = chosen.cohort.weights
    assert weights is not None
    assert sum(weights[f"c{i}"] for i in range(4)) == pytest.approx(weights["c4"])
    assert sum(weights.values()) == pytest.approx(5)
    assert [case.targets["label"] for case in chosen.cohort] == [0, 0, 0, 0, 1]
    assert chosen.counts == (4, 1, 0)


def test_confident_filters_ranks_and_keeps_answers_soft_or_hard() -> None:
    found = confident(pool(6), TABLE, floor=0.5)
    assert found.cohort.ids == ("c0", "c1", "c2", "c4", "c5")
    assert found.counts == (3, 1, 1)
    assert found.cohort["c1"].targets["label"] == (0.5, 0.3, 0.2)
    assert confident(pool(6), TABLE, floor=0.5, soft=False).cohort["c1"].targets["label"] == 0
    few = confident(pool(6), TABLE, floor=0.3, top=2)
    assert few.cohort.ids == ("c0", "c1", "c2", "c3", "c5")
    assert not len(confident(pool(6), TABLE, floor=0.9).cohort)


def test_soft_targets_of_a_binary_task_give_the_binary_cross_entropy() -> None:
    task = Task(kind="binary", classes=("no", "yes"))
    found = confident(pool(2, task), np.array([[0.3, 0.7], [0.9, 0.1]]), floor=0).cohort
    targets, present = Roster(cohort=found, batch=2).numbers(found.cases)
    logits = torch.tensor([[0.4], [-1.0]])
    loss = task_loss(task)(Output((), logits, {"label": logits}), Batch(image=logits, targets=targets, present=present))
    want = F.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([0.7, 0.1]))
    torch.testing.assert_close(loss.total, want)


def test_answers_of_groups_go_to_each_of_their_cases() -> None:
    task = Task(kind="binary", classes=("no", "yes"), score_by="group")
    table = np.array([[0.2, 0.8], [0.6, 0.4]])
    found = Predictions(
        task=task,
        ids=("g0", "g1"),
        groups=("g0", "g1"),
        logits=np.zeros((2, 1), np.float32),
        probabilities=table,
        targets=np.array([-1, -1]),
    )
    answers = answers_of(found, pool(4, task))
    np.testing.assert_array_equal(answers.table, table[[0, 0, 1, 1]])
    assert answers.confidence == pytest.approx(0.7)
    np.testing.assert_array_equal(answers.share, [0.5, 0.5])


SEGMENT = Task(kind="segmentation", classes=("none", "x", "y"))


def proposed(folder: Path, floor: float = 0.0) -> Cohort:
    """Three synthetic cases whose masks and probabilities are known."""
    kept, targets = Proposals(folder=folder, floor=floor), {}
    masks = ([[0, 0], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [0, 2]])
    sure = ([[0.5, 0.5], [0.75, 0.25]], [[0.5, 0.75], [0.75, 0.75]], [[0.25, 0.25], [0.25, 0.25]])
    for i, (mask, p) in enumerate(zip(masks, sure, strict=True)):
        targets[f"c{i}"] = {"label": ImageRef(kept.write(f"c{i}", np.array(mask), np.array(p)))}
    return replace(pool(3, SEGMENT).with_targets(targets), proposals=kept)


def test_masks_are_counted_by_element_and_ranked_by_their_mean_probability(tmp_path: Path) -> None:
    found = proposed(tmp_path, floor=0.5)
    answers = mask_answers(found)
    np.testing.assert_allclose(answers.table, [[0.5, 0.5, 0], [0.5, 0.75, 0], [0.25, 0, 0.25]])
    np.testing.assert_allclose(answers.share, [6 / 12, 5 / 12, 1 / 12])
    assert answers.confidence == pytest.approx(5.75 / 12)
    best = surest_masks(found, answers.table, top=1)
    assert best.cohort.ids == ("c0", "c1")  # c0 for none (a tie with c1), c1 for x; c2 has no element above the floor
    assert best.counts == (1, 1, 0)
    assert best.cohort.proposals is not None
    assert best.cohort.proposals.hard
    np.testing.assert_array_equal(best.cohort.proposals.weight("c0"), [[1, 1], [1, 0]])
    soft = surest_masks(found, answers.table, soft=True).cohort.proposals
    assert soft is not None
    np.testing.assert_array_equal(soft.weight("c0"), [[0.5, 0.5], [0.75, 0]])


def answers(share: tuple[float, ...], count: int = 30) -> Answers:
    return Answers(tuple(map(str, range(count))), np.zeros((count, len(share))), np.array(share), 0.9)


def test_a_collapse_is_told_and_a_rare_class_is_none() -> None:
    def labelled(*targets: int) -> Cohort:
        known = pool(len(targets))
        return known.with_targets({f"c{i}": {"label": y} for i, y in enumerate(targets)})

    even = labelled(0, 1, 2, 0, 1, 2)
    assert collapse(answers((0.4, 0.3, 0.3)), ABC, even) == ""
    said = collapse(answers((1, 0, 0)), ABC, even)
    assert said.startswith("100% of the pseudo-labels are a, (next to) none b or c")
    assert "none c:" in collapse(answers((0.5, 0.49, 0.01)), ABC, even)
    rare = labelled(*[0] * 9, *[1] * 9, 2)
    assert collapse(answers((0.5, 0.5, 0)), ABC, rare) == ""  # 1.6 of 30 were to be expected
    assert "none y:" in collapse(answers((0.9, 0.1, 0)), SEGMENT)
    assert collapse(answers((0.98, 0.01, 0.01)), SEGMENT) == ""


def test_no_labelled_case_is_without_label_and_cases_of_a_labelled_patient_may_be() -> None:
    fold = Fold(("a1", "a2", "b1"), ("v",), ("t",), ("a3",))
    assert without_label(fold, ("a1",)) == ("a2", "b1", "a3")
    assert not set(without_label(fold, fold.train)) & set(fold.train)
