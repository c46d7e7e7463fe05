"""SwAV: the loss is the paper's, assignments have the marginals asked for, prototypes keep length 1."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import SwaVLoss
from torch.nn import functional as F

from allograft.contracts import Progress
from allograft.functional.sinkhorn import sinkhorn
from allograft.objectives.swav import SwAV, likeness
from two_view_material import built, rows, taught, two_looks

TINY = SwAV(hidden=16, output=8, prototypes=4)


def _scores(seed=0):
    z, c = rows(6, 5, seed)
    return F.normalize(z, dim=1) @ F.normalize(c[:4], dim=1).T


def test_the_loss_equals_that_of_lightly():
    one, two = _scores(0).float(), _scores(1).float()
    want = SwaVLoss()([one, two], [])
    assert float(built(TINY, 2)[1].swapped(one, two)) == pytest.approx(float(want), abs=1e-6)


def test_many_iterations_give_the_marginals_and_three_those_of_plain_arithmetic():
    scores = _scores().float()
    codes = sinkhorn(scores, iterations=200)
    torch.testing.assert_close(codes.sum(1), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 6 / 4), atol=1e-3, rtol=0)
    plain = (scores.double() / 0.05).exp()
    for _ in range(3):
        plain = plain / plain.sum(0, keepdim=True) / 4
        plain = plain / plain.sum(1, keepdim=True) / 6
    torch.testing.assert_close(sinkhorn(scores), (6 * plain).float(), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(F.softmax(scores / 0.05, 1).sum(0), torch.full((4,), 1.5), atol=0.1), "it can say no"


def test_alike_images_are_shared_out_alike():
    codes = sinkhorn(torch.ones(5, 4) * torch.tensor([500.0, 0, 0, 0]))
    torch.testing.assert_close(codes, torch.full((5, 4), 0.25))
    same = torch.zeros(5, 4)
    assert float(built(TINY, 2)[1].swapped(same, same)) == pytest.approx(math.log(4), abs=1e-6)


def test_assignments_get_no_gradient():
    one, two = _scores(0).requires_grad_(), _scores(1).requires_grad_()
    grads = torch.autograd.grad(built(TINY, 2)[1].swapped(one, two), [one, two])
    codes = sinkhorn(two, 0.05, 3).double()
    still = -(codes * F.log_softmax(one / 0.1, dim=1)).sum(1).mean() / 2
    torch.testing.assert_close(grads[0], torch.autograd.grad(still, one)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_prototypes_keep_length_one_and_are_still_while_frozen(dims):
    nets, criterion = built(TINY.model_copy(update={"freeze": 0.5}), dims)
    begun, batch = criterion.prototypes.detach().clone(), {"images": two_looks(8, dims)}
    criterion(nets, batch, Progress(4, 10), "all").total.backward()
    assert criterion.prototypes.grad is None
    taught(nets, criterion, batch, 4)
    torch.testing.assert_close(criterion.prototypes.norm(dim=1), torch.ones(4))
    assert not torch.allclose(criterion.prototypes, begun)


def test_the_loss_falls_on_synthetic_images_and_prototypes_are_used():
    nets, criterion = built(TINY, 2)
    batch = {"images": two_looks(8, 2)}
    losses = taught(nets, criterion, batch, 30)
    assert losses[-1] < 0.7 * losses[0]
    assert float(criterion(nets, batch, Progress(1, 2), "all").parts["used"]) > 0.5


def test_the_length_of_outputs_and_of_what_begins_as_prototypes_does_not_matter():
    _, criterion = built(TINY, 2)
    torch.testing.assert_close(criterion.prototypes.norm(dim=1), torch.ones(4))
    z, _ = rows(6, 8)
    scores = likeness(z.float(), criterion.prototypes)
    torch.testing.assert_close(likeness(5 * z.float(), criterion.prototypes), scores)
    assert float(scores.detach().abs().max()) <= 1


def test_the_loss_is_that_of_both_looks_in_turn():
    nets, criterion = built(TINY, 2)
    batch = two_looks(6, 2)
    loss = float(criterion(nets, {"images": batch}, Progress(5, 10), "all").total.detach())
    one, two = (
        likeness(criterion.projector(nets["net"](x).pooled), criterion.prototypes)
        for x in (batch.image, batch.views[0].image)
    )
    want = SwaVLoss()([one, two], [])
    assert loss == pytest.approx(float(want.detach()), abs=1e-5)
