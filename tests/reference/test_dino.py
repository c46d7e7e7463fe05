"""DINO: loss and centre are the released code's, and centring and sharpening do what they are there for."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import DINOLoss

from allograft.contracts import Progress
from allograft.functional.cosine import directions
from allograft.objectives.dino import DINO, cosines
from two_view_material import AT, built, rows, taught, two_looks

TINY = DINO(hidden=16, bottleneck=8, output=6, momentum=0.9)


def test_two_steps_of_loss_and_centre_equal_those_of_lightly():
    judge, (_, criterion) = DINOLoss(output_dim=6, student_temp=0.1, teacher_temp=0.04), built(TINY, 2)
    for seed in (0, 1):
        told = [0.3 * z.float() for z in rows(5, 6, seed)]
        said = [0.3 * z.float() for z in rows(5, 6, 10 + seed)]
        want = judge(told, said)
        assert float(criterion.distilled(told, said)[0]) == pytest.approx(float(want), abs=1e-6)
        criterion.recentre(told)
        torch.testing.assert_close(criterion.centre, judge.center[0])


def test_without_centring_one_output_always_wins_and_with_it_none():
    _, criterion = built(TINY, 2)
    told = [torch.tensor([[1.0, 0, 0, 0, 0, 0]]).repeat(4, 1)] * 2
    said = [torch.zeros(4, 6)] * 2
    assert float(criterion.distilled(told, said)[1]) < 0.01
    for _ in range(200):
        criterion.recentre(told)
    loss, used = criterion.distilled(told, said)
    assert float(used) == pytest.approx(1, abs=1e-4)
    assert float(loss) == pytest.approx(math.log(6), abs=1e-5)


def test_a_sharper_teacher_is_surer():
    told = [z.float() for z in rows(1, 6)]
    sure = [
        float(built(TINY.model_copy(update={"teacher_temperature": t}), 2)[1].distilled(told, told)[1])
        for t in (0.04, 4)
    ]
    assert sure[0] < sure[1]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_teacher_gets_no_gradient_and_follows_by_the_cosine_schedule(dims):
    nets, criterion = built(TINY, dims)
    slow = [*criterion.slow_net.parameters(), *criterion.slow_projector.parameters()]
    fast = [*nets["net"].parameters(), *criterion.projector.parameters()]
    criterion(nets, {"images": two_looks(6, dims)}, AT, "all").total.backward()
    assert all(p.grad is None for p in slow)
    with torch.no_grad():
        for p in fast:
            p.add_(1.0)
    before = [p.clone() for p in slow]
    criterion.after_step(nets, AT)
    for was, now, student in zip(before, slow, fast, strict=True):
        torch.testing.assert_close(now, 0.95 * was + 0.05 * student.detach())
    assert criterion.result(nets) is nets["net"]
    other = built(TINY.model_copy(update={"hand_on": "teacher"}), dims)[1]
    assert other.result(nets) is other.slow_net


def test_the_last_layer_is_still_while_frozen_and_judging_leaves_the_centre():
    nets, criterion = built(TINY.model_copy(update={"freeze": 0.5}), 2)
    batch = {"images": two_looks(6, 2)}
    criterion(nets, batch, Progress(4, 10), "all").total.backward()
    assert criterion.projector.last.weight.grad is None
    criterion(nets, batch, Progress(5, 10), "all").total.backward()
    assert criterion.projector.last.weight.grad is not None
    centre = criterion.centre.clone()
    assert bool(centre.any())
    criterion.eval()(nets, batch, AT, "all")
    assert torch.equal(criterion.centre, centre)


@pytest.mark.parametrize("dims", [2, 3])
def test_with_norms_in_the_head_images_get_answers_of_their_own_that_both_looks_share(dims):
    """Without them a tiny head gives all images the even answer: the loss ends at log 6."""
    ends = {}
    for norm in (True, False):
        nets, criterion = built(TINY.model_copy(update={"norm": norm}), dims)
        ends[norm] = taught(nets, criterion, {"images": two_looks(8, dims)}, 40)[-1]
        used = float(criterion(nets, {"images": two_looks(8, dims)}, AT, "all").parts["used"])
        assert used > 0.6
    assert ends[True] < 0.3
    assert ends[False] == pytest.approx(math.log(6), abs=0.3)


def test_the_head_begins_without_biases_so_that_images_point_where_they_differ():
    _, criterion = built(DINO(), 2)
    linear = [layer for layer in criterion.projector.layers if isinstance(layer, torch.nn.Linear)]
    assert [(p.in_features, p.out_features) for p in linear] == [(8, 2048), (2048, 2048), (2048, 256)]
    assert not any(bool(p.bias.any()) for p in linear)
    assert float(linear[1].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert criterion.projector.last.weight.shape == (1024, 256)
    assert criterion.projector.last.bias is None
    features = 0.05 * torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    apart = float(directions(criterion.projector.layers(features)))
    for layer in linear:
        layer.reset_parameters()
    assert float(directions(criterion.projector.layers(features))) < 0.5 * apart, "as torch begins"


def test_answers_are_cosines_whatever_the_length_of_outputs_and_rows():
    _, criterion = built(TINY, 2)
    pooled = torch.randn(5, 8)
    said = criterion.projector(pooled)
    with torch.no_grad():
        criterion.projector.last.weight.mul_(3)
    torch.testing.assert_close(criterion.projector(pooled), said)
    assert float(said.detach().abs().max()) <= 1
    outputs, turned = torch.randn(5, 8), torch.randn(6, 8)
    torch.testing.assert_close(cosines(5 * outputs, turned), cosines(outputs, turned))
    assert float(cosines(outputs, turned)[1, 2]) == pytest.approx(
        float(torch.cosine_similarity(outputs[1], turned[2], dim=0)), abs=1e-6
    )


def test_the_loss_is_that_of_the_students_answer_and_the_teachers_on_the_other_look():
    nets, criterion = built(TINY, 2)
    with torch.no_grad():
        criterion.slow_projector.last.weight.copy_(torch.randn(6, 8, generator=torch.Generator().manual_seed(3)))
    batch = two_looks(6, 2)
    judge = DINOLoss(output_dim=6, student_temp=0.1, teacher_temp=0.04)
    views = (batch.image, batch.views[0].image)
    said = [criterion.projector(nets["net"](x).pooled) for x in views]
    told = [criterion.slow_projector(criterion.slow_net(x).pooled) for x in views]
    loss = float(criterion(nets, {"images": batch}, AT, "all").total.detach())
    assert loss == pytest.approx(float(judge(told, said).detach()), abs=1e-5)
    torch.testing.assert_close(criterion.centre, judge.center[0], atol=1e-6, rtol=1e-5)
