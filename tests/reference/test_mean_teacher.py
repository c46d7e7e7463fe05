"""Mean teacher: its term by hand, a teacher that follows and never gets a gradient, and a student that is pulled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from allograft.contracts import Progress
from allograft.functional.consistency import jitter
from allograft.objectives.mean_teacher import MeanTeacher
from two_stream_loop import AT, assert_resumes, assert_same, assert_weight_0_is_supervised, batches, tiny, train


def moved_teacher(criterion: Any) -> Any:
    """Let the teacher differ from the student."""
    with torch.no_grad():
        for parameter in criterion.teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return criterion


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "segmentation"])
def test_the_term_is_the_mean_squared_difference_of_probabilities(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = batches(dims, task)
    criterion = moved_teacher(MeanTeacher(weight=2, ramp=0, noise=0.1).build({"net": net}, task))
    student, teacher = copy.deepcopy(net), copy.deepcopy(criterion.teacher)
    torch.manual_seed(3)
    loss = criterion({"net": net}, batch, AT, "all")
    torch.manual_seed(3)
    image = batch["unlabelled"].image
    noise = torch.clamp(torch.randn_like(image) * 0.1, -0.2, 0.2)
    a, b = student(image).logits["label"], teacher(image + noise).logits["label"]
    if kind in {"binary", "multilabel"}:
        want = (a.sigmoid() - b.sigmoid()).square().mean()  # of p and of 1 - p the same
    else:
        want = (a.softmax(1) - b.softmax(1)).square().mean()
    assert float(loss.parts["unsupervised"]) == pytest.approx(float(want.detach()), rel=1e-4)
    torch.testing.assert_close(loss.total.detach(), loss.parts["task"] + 2 * loss.parts["unsupervised"])


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_after_one_step_the_teacher_is_the_student(buffers: Any) -> None:
    net, task = tiny(2)
    criterion = train(MeanTeacher(ramp=0, buffers=buffers), net, task, steps=1)
    assert_same(criterion.teacher, net)


def test_the_teacher_never_gets_a_gradient_and_nobody_moves_it() -> None:
    net, task = tiny(3, "segmentation")
    criterion = moved_teacher(MeanTeacher(ramp=0).build({"net": net}, task))
    before = copy.deepcopy(criterion.teacher)
    criterion({"net": net}, batches(3, task), AT, "all").total.backward()
    assert all(p.grad is None and not p.requires_grad for p in criterion.teacher.parameters())
    assert all(p.grad is not None for p in net.decoder.parameters())
    mine = {id(p) for p in criterion.teacher.parameters()}
    assert not any(id(p) in mine for player in criterion.players({"net": net}) for p in player.parameters)
    for name, value in before.named_parameters():
        assert torch.equal(value, criterion.teacher.get_parameter(name))


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_supervised(MeanTeacher())


def test_resumed_training_is_bit_for_bit_the_teacher_included(tmp_path: Path) -> None:
    assert_resumes(MeanTeacher(ramp=0, hand_on="teacher"), tmp_path)


@pytest.mark.parametrize("buffers", ["average", "own"])
def test_running_statistics_follow_the_student_or_drift_on_their_own(buffers: Any) -> None:
    """The released code averages parameters alone: statistics are then those of the teacher's passes."""
    net, task = tiny(2)
    criterion = MeanTeacher(ramp=0, buffers=buffers).build({"net": net}, task)
    for own in criterion.teacher.modules():
        if isinstance(own, nn.BatchNorm2d):
            own.running_mean.fill_(7.0)
    criterion({"net": net}, batches(2, task), AT, "all")
    passed = criterion.teacher.encoder.stem["norm"].running_mean.clone()
    assert bool((passed == 7).all()) == (buffers == "average")  # a pass moves them only where they are its own
    criterion.after_step({"net": net}, Progress(1, 10))
    after, theirs = criterion.teacher.encoder.stem["norm"].running_mean, net.encoder.stem["norm"].running_mean
    torch.testing.assert_close(after, passed if buffers == "own" else (7 + theirs) / 2)


def test_a_validated_teacher_goes_on_in_the_students_modes() -> None:
    net, task = tiny(2, dropout=0.5)
    criterion = MeanTeacher(ramp=0, hand_on="teacher").build({"net": net}, task)
    assert criterion.result({"net": net}) is criterion.teacher
    criterion.teacher.eval()
    net.train()
    net.encoder.stem["norm"].training = False  # frozen by the plan
    criterion({"net": net}, batches(2, task), AT, "all")
    assert criterion.teacher.heads["label"].dropout.training
    assert not criterion.teacher.encoder.stem["norm"].training


def test_the_mechanism_acts_the_teacher_pulls_the_student() -> None:
    net, task = tiny(2)
    criterion = moved_teacher(MeanTeacher(weight=1, ramp=0, noise=0).build({"net": net}, task))
    batch = batches(2, task)
    optimiser, found = torch.optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(30):
        optimiser.zero_grad()
        loss = criterion({"net": net}, batch, AT, "all")
        found.append(float(loss.parts["unsupervised"]))
        (loss.total - criterion.plain(net(batch["train"].image), batch["train"]).total).backward()
        optimiser.step()
    assert found[-1] < 0.3 * found[0]


def test_noise_is_cut_at_two_deviations_and_absent_for_0() -> None:
    image = torch.zeros(40, 40)
    noise = jitter(image, 0.1)
    assert float(noise.abs().max()) == pytest.approx(0.2)
    assert 0.08 < float(noise.std()) < 0.1
    assert jitter(image, 0) is image
