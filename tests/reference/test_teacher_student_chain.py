"""Teacher-student chain: who teaches whom, when it stops, and what is handed on."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from allograft.contracts import Lab
from allograft.nets.network import Network
from allograft.procedures.billion_scale import BillionScale
from allograft.procedures.teacher_student_chain import TeacherStudentChain
from labelling_lab import LabellingLab, constant, oracle, truth


def run(lab: LabellingLab, **settings: Any) -> tuple[LabellingLab, Network]:
    return lab, TeacherStudentChain(**settings).run(cast("Lab", lab))


@pytest.mark.parametrize("dims", [2, 3])
def test_rounds_share_what_the_teacher_leaves_of_the_budget(dims: int) -> None:
    lab, _ = run(LabellingLab(dims, scores=[0.1, 0.2, 0.3, 0.4]), rounds=3, teacher=0.4, finetune=0.25)
    assert [a.stage for a in lab.asked] == [
        "teacher",
        *(f"{s}-{r}" for r in (1, 2, 3) for s in ("student", "finetune")),
    ]
    assert [a.share for a in lab.asked] == pytest.approx([0.4, *[0.15, 0.05] * 3])
    labelled, pool = lab.cohorts["train"].ids, set(lab.cohorts["unlabelled"].ids)
    for asked in lab.asked:
        own = set(asked.ids["train"])
        assert own <= pool if asked.stage.startswith("student") else asked.ids["train"] == labelled


@pytest.mark.parametrize(
    ("scores", "stages", "returned"),
    [
        ([0.5, 0.5], 3, "teacher"),  # equal is not better
        ([0.5, 0.4], 3, "teacher"),
        ([0.5, 0.6, 0.55], 5, "finetune-1"),
        ([0.5, 0.6, 0.7, 0.8], 7, "finetune-3"),
    ],
)
def test_it_stops_at_the_first_round_that_is_not_better_and_returns_the_one_before(
    scores: list[float], stages: int, returned: str
) -> None:
    lab, net = run(LabellingLab(scores=list(scores)))
    assert len(lab.asked) == stages
    assert net is lab.done[returned]
    assert [facts["validation"] for _, facts in lab.reports if "validation" in facts] == scores[1:]


def test_one_round_is_the_billion_scale_recipe() -> None:
    chain, _ = run(LabellingLab(), rounds=1, teacher=0.4, finetune=0.5)
    plain = LabellingLab()
    BillionScale(teacher=0.4, finetune=0.3).run(cast("Lab", plain))
    assert [a.share for a in chain.asked] == pytest.approx([a.share for a in plain.asked])
    assert [a.ids["train"] for a in chain.asked] == [a.ids["train"] for a in plain.asked]
    taught = [lab.given[stage]["train"] for lab, stage in ((chain, "student-1"), (plain, "student"))]
    assert taught[0] == taught[1]


@pytest.mark.parametrize("warm", [False, True])
def test_the_mechanism_acts_a_warm_student_begins_as_its_teacher_ended(warm: bool) -> None:
    lab = LabellingLab(scores=[0.1, 0.2, 0.3])
    first: dict[str, dict[str, torch.Tensor]] = {}
    train = lab.train

    def watched(stage: str, started: Any, **settings: Any) -> Network:
        first[stage] = {k: v.clone() for k, v in started.net.state_dict().items()}
        return train(stage, started, **settings)

    lab.train = watched  # type: ignore[method-assign]
    run(lab, rounds=2, warm=warm)
    fresh = lab.start().net
    for begun, teacher in (("student-1", "teacher"), ("student-2", "finetune-1")):
        wanted = (lab.done[teacher] if warm else fresh).state_dict()
        assert all(torch.equal(first[begun][k], v) for k, v in wanted.items())


def test_a_true_teacher_gives_true_labels_and_a_constant_one_is_told_in_every_round() -> None:
    lab, _ = run(LabellingLab(says=oracle, scores=[0.1, 0.2, 0.3, 0.4]), top=6)
    assert all(case.targets["label"] == truth(case) for r in (1, 2, 3) for case in lab.given[f"student-{r}"]["train"])
    lab, _ = run(LabellingLab(says=constant, scores=[0.1, 0.2, 0.3, 0.4]))
    notes = [str(facts["note"]) for _, facts in lab.reports if "note" in facts]
    assert [note[: len("Collapsed (pseudo-labels of round 1)")] for note in notes] == [
        f"Collapsed (pseudo-labels of round {r})" for r in (1, 2, 3)
    ]
