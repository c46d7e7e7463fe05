"""BYOL: the loss is the paper's, the slow copy is only ever followed, and what it is there for shows."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from allograft.contracts import Progress
from allograft.functional.ema import cosine_decay
from allograft.objectives.byol import BYOL, foretold
from two_view_material import AT, built, rows, taught, two_looks

TINY = BYOL(hidden=16, output=8, momentum=0.9)


def test_the_loss_equals_a_typed_loop_and_lightly():
    (p, q), (y, z) = rows(5, 6), rows(5, 6, seed=1)
    total = 0.0
    for said, told in ((p, z), (q, y)):
        for a, b in zip(said, told, strict=True):
            total += float(((a / a.norm() - b / b.norm()) ** 2).sum()) / 5
    assert float(foretold(p, q, y, z)) == pytest.approx(total, abs=1e-9)
    judge = NegativeCosineSimilarity()
    assert float(foretold(p, q, y, z)) == pytest.approx(float(4 + 2 * judge(p, z) + 2 * judge(q, y)), abs=1e-9)


def test_equal_branches_give_zero_and_opposite_ones_eight():
    p, _ = rows(5, 6)
    assert float(foretold(p, p, 3 * p, p)) == pytest.approx(0, abs=1e-9)
    assert float(foretold(p, p, -p, -p)) == pytest.approx(8, abs=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_copy_gets_no_gradient_and_follows_by_the_cosine_schedule(dims):
    nets, criterion = built(TINY, dims)
    slow = [*criterion.slow_net.parameters(), *criterion.slow_projector.parameters()]
    fast = [*nets["net"].parameters(), *criterion.projector.parameters()]
    criterion(nets, {"images": two_looks(6, dims)}, AT, "all").total.backward()
    assert all(p.grad is None for p in slow)
    assert all(p.grad is not None for p in criterion.predictor.parameters())
    with torch.no_grad():
        for p in fast:
            p.add_(1.0)
    for step, keeps in ((0, 0.9), (5, 0.95), (10, 1.0)):
        before = [p.clone() for p in slow]
        criterion.after_step(nets, Progress(step, 10))
        for was, now, student in zip(before, slow, fast, strict=True):
            torch.testing.assert_close(now, keeps * was + (1 - keeps) * student.detach())
    assert cosine_decay(0.25, 0.996) == pytest.approx(1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2)


def test_both_views_foretell_each_other():
    nets, criterion = built(TINY, 2)
    batch = two_looks(6, 2)
    turned = two_looks(6, 2)
    object.__setattr__(turned, "image", batch.views[0].image)
    object.__setattr__(turned, "views", (batch.views[0]._replace(image=batch.image),))
    one, two = (float(criterion(nets, {"images": b}, AT, "all").total.detach()) for b in (batch, turned))
    assert one == pytest.approx(two, abs=1e-5)


def test_the_copys_running_statistics_are_its_own():
    nets, criterion = built(TINY, 2)
    name = "encoder.stem.norm.running_mean"
    before = criterion.slow_net.state_dict()[name].clone()
    criterion(nets, {"images": two_looks(6, 2)}, AT, "all")
    passed = criterion.slow_net.state_dict()[name].clone()
    assert not torch.equal(before, passed)
    nets["net"].state_dict()[name].add_(1)
    criterion.after_step(nets, AT)
    assert torch.equal(criterion.slow_net.state_dict()[name], passed)


def test_the_loss_falls_on_synthetic_images_and_does_not_collapse():
    nets, criterion = built(TINY, 2)
    losses = taught(nets, criterion, {"images": two_looks(8, 2)}, 40)
    assert losses[-1] < 0.5 * losses[0]
    parts = criterion(nets, {"images": two_looks(8, 2)}, AT, "all").parts
    assert float(parts["directions"]) > 0.3


def test_projector_and_predictor_have_the_layers_of_the_released_code():
    _, criterion = built(BYOL(), 2)
    for part, width in ((criterion.projector, 8), (criterion.predictor, 256)):
        first, norm, _, last = part
        assert (first.in_features, first.out_features, last.out_features) == (width, 4096, 256)
        assert norm.num_features == 4096
        assert last.bias is None


def test_the_loss_is_that_of_predictions_of_one_view_and_the_copys_answer_on_the_other():
    nets, criterion = built(TINY, 2)
    with torch.no_grad():
        for p in criterion.slow_projector.parameters():
            p.mul_(-1.5)
    batch = two_looks(6, 2)
    loss = float(criterion(nets, {"images": batch}, AT, "all").total.detach())
    views = (batch.image, batch.views[0].image)
    said = [criterion.predictor(criterion.projector(nets["net"](x).pooled)) for x in views]
    told = [criterion.slow_projector(criterion.slow_net(x).pooled) for x in views]
    cosines = [float(torch.cosine_similarity(said[i], told[1 - i]).mean().detach()) for i in (0, 1)]
    assert loss == pytest.approx(4 - 2 * sum(cosines), abs=1e-5)
