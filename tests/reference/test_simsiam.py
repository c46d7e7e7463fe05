"""SimSiam: the loss is the paper's, targets are held still, and without that outputs collapse."""

from __future__ import annotations

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from torch.nn import functional as F

from allograft.functional.cosine import directions, mean_cosine
from allograft.objectives.simsiam import SimSiam, siamese_loss
from two_view_material import AT, built, rows, taught, two_looks

TINY = SimSiam(hidden=16, output=16, bottleneck=4)


def test_the_loss_equals_a_typed_loop_and_lightly():
    (p, q), (y, z) = rows(5, 6), rows(5, 6, seed=1)
    total = 0.0
    for said, told in ((p, z), (q, y)):
        for a, b in zip(said, told, strict=True):
            total -= float(a @ b / (a.norm() * b.norm())) / 5 / 2
    assert float(siamese_loss(p, q, y, z)) == pytest.approx(total, abs=1e-9)
    judge = NegativeCosineSimilarity()
    assert float(siamese_loss(p, q, y, z)) == pytest.approx(float((judge(p, z) + judge(q, y)) / 2), abs=1e-9)
    assert float(siamese_loss(p, q, 2 * q, p)) == pytest.approx(-1, abs=1e-9)


def test_targets_get_no_gradient_and_predictions_that_of_constants():
    tensors = [z.requires_grad_() for seed in (0, 1) for z in rows(5, 6, seed)]
    p, q, y, z = tensors
    grads = torch.autograd.grad(siamese_loss(p, q, y, z), tensors, allow_unused=True)
    assert grads[2] is None
    assert grads[3] is None
    still = -F.cosine_similarity(p, z.detach()).mean() / 2
    torch.testing.assert_close(grads[0], torch.autograd.grad(still, p)[0])


def _siamese(dims, *, stop):
    """Return the last loss and the outputs' directions of 60 steps; the output's batch norm, which hides it, is off."""
    nets, criterion = built(TINY, dims)
    layers, batch = criterion.projector[:-1], two_looks(8, dims, apart=0.5)
    rate = torch.optim.SGD([*nets["net"].encoder.parameters(), *criterion.parameters()], 0.5)
    for _ in range(60):
        y, z = (layers(nets["net"](image).pooled) for image in (batch.image, batch.views[0].image))
        p, q = criterion.predictor(y), criterion.predictor(z)
        loss = siamese_loss(p, q, y, z) if stop else -(mean_cosine(p, z) + mean_cosine(q, y)) / 2
        rate.zero_grad()
        loss.backward()
        rate.step()
    return float(loss.detach()), float(directions(y))


@pytest.mark.parametrize("dims", [2, 3])
def test_with_a_gradient_through_targets_outputs_come_together_and_without_they_stay_apart(dims):
    (kept, apart), (fell, together) = _siamese(dims, stop=True), _siamese(dims, stop=False)
    assert fell == pytest.approx(-1, abs=0.01), "the easy way out: all images are given one answer"
    assert kept > fell
    assert apart > 0.7
    assert together < 0.65 * apart


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_moves_the_encoder_and_falls_on_synthetic_images(dims):
    nets, criterion = built(TINY, dims)
    batch = {"images": two_looks(8, dims, apart=0.5)}
    losses = taught(nets, criterion, batch, 30)
    assert losses[-1] < losses[0] - 0.1
    assert float(criterion(nets, batch, AT, "all").parts["directions"]) > 0.5


def test_outputs_that_are_all_alike_have_no_directions():
    assert float(directions(torch.ones(6, 4))) == pytest.approx(0, abs=1e-6)
    assert float(directions(torch.randn(4000, 32, generator=torch.Generator().manual_seed(0)))) == pytest.approx(
        1, abs=0.02
    )


def test_projector_and_predictor_have_the_layers_of_the_released_code():
    _, criterion = built(SimSiam(), 2)
    linear = [p for p in criterion.projector if isinstance(p, torch.nn.Linear)]
    assert [(p.in_features, p.out_features, p.bias is None) for p in linear] == [
        (8, 8, True),
        (8, 8, True),
        (8, 2048, True),
    ]
    assert criterion.projector[-1].affine is False
    first, norm, _, last = criterion.predictor
    assert (first.out_features, norm.num_features, last.out_features) == (512, 512, 2048)
    assert last.bias is not None


def test_the_loss_is_that_of_predictions_and_the_other_views_outputs():
    nets, criterion = built(TINY, 2)
    batch = two_looks(6, 2)
    loss = criterion(nets, {"images": batch}, AT, "all").total
    y, z = (criterion.projector(nets["net"](x).pooled) for x in (batch.image, batch.views[0].image))
    want = siamese_loss(criterion.predictor(y), criterion.predictor(z), y, z)
    assert float(loss.detach()) == pytest.approx(float(want.detach()), abs=1e-5)
