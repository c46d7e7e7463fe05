"""Noisy Student: who is noised, what is taught, and that a true teacher amounts to supervised training."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from allograft import catalog
from allograft.contracts import Lab, Progress
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch, Case
from allograft.data.cohort import Cohort
from allograft.data.order import balanced_places
from allograft.data.roster import Roster
from allograft.infer.forward import predict
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.mixed import Mixed
from allograft.objectives.supervised import Supervised
from allograft.procedures.noisy_student import NoisyStudent
from allograft.starts.scratch import Scratch
from allograft.study.grid import Search
from allograft.study.recipe import Recipe
from allograft.study.rehearsal import UNFORESEEN, Stand, rehearse
from allograft.testing.procedures import synthetic_cohort
from allograft.testing.tiny import tiny_net
from labelling_lab import LabellingLab, constant, oracle, truth

AT = Progress(0, 10)


def run(lab: LabellingLab | None = None, **settings: Any) -> LabellingLab:
    lab = lab or LabellingLab()
    NoisyStudent(**settings).run(cast("Lab", lab))
    return lab


@pytest.mark.parametrize("dims", [2, 3])
def test_the_noise_is_in_the_student_only_and_stages_share_alike(dims: int) -> None:
    lab = run(LabellingLab(dims), rounds=2, dropout=0.4, drop_path=0.1, ratio=3)
    teacher, *students = lab.asked
    assert [a.stage for a in lab.asked] == ["teacher", "student-1", "student-2"]
    assert [a.share for a in lab.asked] == pytest.approx([1 / 3] * 3)
    assert (teacher.augment, teacher.objective) == (None, Supervised())
    assert lab.begun[0] == {}
    for asked in students:
        assert asked.augment is not None
        assert asked.augment.preset == "strong"
        assert asked.objective == Mixed(ratio=3, balance=True)
        assert asked.ids["train"] == lab.cohorts["train"].ids
        assert not set(asked.ids["pseudo"]) & {*asked.ids["train"], *asked.ids["val"]}
    nets = [begun["net"] for begun in lab.begun[1:]]
    assert len(nets) == 2
    assert all((net.dropout, net.drop_path) == (0.4, 0.1) for net in nets)
    assert (lab.net.dropout, lab.net.drop_path) == (0, 0)


def test_the_choice_worked_by_hand_soft_and_hard() -> None:
    def says(case: Case) -> tuple[float, ...]:
        return {0: (0.9, 0.1), 1: (0.45, 0.55), 2: (0.8, 0.2)}.get(int(case.id.split("-")[1]), (0.5, 0.5))

    soft = run(LabellingLab(says=says), min_confidence=0.52).given["student-1"]["pseudo"]
    assert {case.id: case.targets["label"] for case in soft} == {
        "unlabelled-0": (0.9, 0.1),
        "unlabelled-1": (0.45, 0.55),
        "unlabelled-2": (0.8, 0.2),
    }
    hard = run(LabellingLab(says=says), min_confidence=0.52, soft=False, top=1).given["student-1"]["pseudo"]
    assert {case.id: case.targets["label"] for case in hard} == {"unlabelled-0": 0, "unlabelled-1": 1}
    with pytest.raises(DataError, match="no pseudo-label of 12 cases is sure enough"):
        run(LabellingLab(says=says), min_confidence=0.95)


def test_copies_are_as_many_as_the_paper_expects_and_every_class_is_equal() -> None:
    """A class of 37 beside one of 130: each of the 37 comes 130 / 37 = 3.51 times while the others come once."""
    classes = (tuple(range(37)), tuple(range(37, 167)))
    seen = Counter(i for step in range(26) for i in balanced_places(0, "pseudo", classes, 10, step))
    few, many = [seen[i] for i in classes[0]], [seen[i] for i in classes[1]]
    assert sum(few) == sum(many) == 130
    assert set(many) == {1}
    assert set(few) == {3, 4}
    share = 130 / 37 % 1
    spread = 3 * np.sqrt(share * (1 - share) / 37)
    assert abs(np.mean(few) - 130 / 37) <= spread


def test_balance_reaches_soft_targets() -> None:
    pseudo = run(LabellingLab(says=lambda case: (0.4, 0.6) if case.id.endswith(("-0", "-7")) else (0.9, 0.1))).given[
        "student-1"
    ]["pseudo"]
    roster = Roster(cohort=pseudo, batch=8, balance=True)
    roster.check("pseudo")
    said = Counter(case.targets["label"] for step in range(5) for case in roster.cases(0, "pseudo", step))
    assert said == {(0.4, 0.6): 20, (0.9, 0.1): 20}


def batch_of(cohort: Cohort, images: torch.Tensor) -> Batch:
    targets, present = Roster(cohort=cohort, batch=len(cohort)).numbers(cohort.cases)
    return Batch(image=images, targets=targets, present=present, ids=cohort.ids)


@pytest.mark.parametrize("soft", [True, False])
def test_a_true_teacher_is_supervised_training_on_all_cases(soft: bool) -> None:
    lab = run(LabellingLab(says=oracle), soft=soft)
    pseudo, train = lab.given["student-1"]["pseudo"], lab.cohorts["train"]
    assert pseudo.ids == lab.cohorts["unlabelled"].ids
    images = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    every = Cohort(
        name="synthetic",
        task=train.task,
        cases=(*train.cases, *(replace(case, targets={"label": truth(case)}) for case in pseudo)),
    )
    found = []
    for split in (True, False):
        net = tiny_net(2, outputs=1)
        if split:
            given = {"train": batch_of(train, images[:12]), "pseudo": batch_of(pseudo, images[12:])}
            criterion = Mixed().build({"net": net}, train.task)
        else:
            given, criterion = {"train": batch_of(every, images)}, Supervised().build({"net": net}, train.task)
        loss = criterion({"net": net}, given, AT, "all").total
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def noisy(dims: int) -> Network:
    spec = NetSpec(encoder="resnet10_small", width=0.125, dims=dims, dropout=0.5, drop_path=0.2)
    task = Task(kind="binary", classes=("no", "yes"))
    return build_network(spec, {"label": task}, in_channels=1, seed=0, parts=catalog.parts(spec))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_teacher_labels_twice_alike_and_a_student_differs_from_itself(dims: int) -> None:
    net, task = noisy(dims).train(), Task(kind="binary", classes=("no", "yes"))
    images = torch.randn(4, 1, *[16] * dims, generator=torch.Generator().manual_seed(0))
    ids = ("a", "b", "c", "d")
    one, two = (
        predict(net, [Batch(image=images, ids=ids)], task, groups={name: name for name in ids}).probabilities
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert net.training
    torch.manual_seed(0)
    with torch.no_grad():
        first, second = (net(images).logits["label"] for _ in range(2))
    assert not torch.equal(first, second)


def test_a_constant_teacher_is_told() -> None:
    lab = run(LabellingLab(says=constant), rounds=2)
    notes = [str(facts["note"]) for _, facts in lab.reports]
    assert len(notes) == 2
    assert all("Collapsed" in note and "none no" in note for note in notes)
    assert lab.reports[0][1]["agreement"] == 0.5


def test_a_larger_student_starts_from_scratch_and_a_smaller_one_is_refused() -> None:
    larger = NetSpec(encoder="resnet18", dims=2)
    lab = run(student=larger, rounds=1)
    assert (lab.begun[1]["net"].encoder, type(lab.begun[1]["start"])) == ("resnet18", Scratch)
    assert run(rounds=1).begun[1]["start"] is None

    class Shrinking(LabellingLab):
        def start(self, **settings: Any) -> Any:
            made = super().start(**settings)
            return made if "net" not in settings else made._replace(net=torch.nn.Linear(1, 1))

    with pytest.raises(ConfigError, match="fewer parameters than its teacher"):
        run(Shrinking(), student=larger)
    with pytest.raises(ConfigError, match="3 dimensions"):
        run(student=NetSpec(encoder="resnet18", dims=3))


def test_an_objective_without_labels_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match="Use supervised"):
        run(LabellingLab(objective=EntropyMinimisation()))


@pytest.mark.parametrize("procedure", ["billion_scale", "teacher_student_chain", {"noisy_student": {"drop_path": 0.1}}])
def test_rehearsal_plans_the_teacher_and_says_that_the_rest_depends_on_it(procedure: Any) -> None:
    whole = synthetic_cohort("train", 8)
    recipe = {
        "name": "r",
        "net": {"encoder": "resnet10_small", "width": 0.0625},
        "budget": {"steps": 40},
        "procedure": procedure,
    }
    roles = {"train": whole, "val": whole, "unlabelled": synthetic_cohort("unlabelled", 4, labelled=False)}
    stand = Stand(recipe=Recipe.model_validate(recipe), search=Search(lrs=()), cohorts=roles, channels=1, source=None)
    (teacher,) = rehearse(stand)
    assert teacher.stage == "teacher"
    assert UNFORESEEN in teacher.plan.notes


def test_a_student_that_cannot_be_built_is_refused_before_anything_is_trained() -> None:
    whole = synthetic_cohort("train", 8)
    roles = {"train": whole, "val": whole, "unlabelled": synthetic_cohort("unlabelled", 4, labelled=False)}
    recipe = Recipe(name="r", net=NetSpec(encoder="cbr_tiny"), procedure=NoisyStudent())
    with pytest.raises(ConfigError, match="drop_path: CBR nets have no residual branches"):
        rehearse(Stand(recipe=recipe, search=Search(lrs=()), cohorts=roles, channels=1, source=None))
