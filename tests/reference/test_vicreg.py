"""VICReg: the loss is the released code's, and each term answers to what it forbids and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLoss

from allograft.objectives.vicreg import VICReg, shared_variation, too_still
from two_view_material import AT, built, rows, taught, two_looks

TINY = VICReg(hidden=16, output=8)


def test_the_loss_equals_that_of_lightly_and_numpy():
    a, b = (0.7 * z for z in rows(9, 5))
    found = built(TINY, 2)[1].between(a, b)
    assert float(found.total) == pytest.approx(float(VICRegLoss()(a, b)), abs=1e-6)
    x, y = a.numpy(), b.numpy()
    still, shared = 0.0, 0.0
    for z in (x, y):
        still += np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() / 2
        cov = np.cov(z.T)
        shared += ((cov**2).sum() - (np.diag(cov) ** 2).sum()) / 5
    assert float(found.total) == pytest.approx(25 * ((x - y) ** 2).mean() + 25 * still + shared, abs=1e-9)


def test_equal_uncorrelated_views_of_deviation_above_one_give_zero():
    four = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    found = built(TINY, 2)[1].between(four, four)
    assert float(found.total) == pytest.approx(0, abs=1e-12)


def test_each_term_answers_to_what_it_forbids():
    four = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    criterion = built(TINY, 2)[1]
    cases = {
        "invariance": (four, four + 0.5),
        "variance": (0.1 * four, 0.1 * four),
        "covariance": (four[:, :1].repeat(1, 2), four[:, :1].repeat(1, 2)),
    }
    for name, views in cases.items():
        parts = {key: float(value) for key, value in criterion.between(*views).parts.items()}
        assert parts.pop(name) > 0.1
        assert list(parts.values()) == pytest.approx([0, 0], abs=1e-9)
    assert float(too_still(torch.ones(6, 3))) == pytest.approx(1 - 0.01), "collapse"
    assert float(shared_variation(torch.ones(6, 3))) == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_moves_the_encoder_and_falls_on_synthetic_images(dims):
    nets, criterion = built(TINY, dims)
    losses = taught(nets, criterion, {"images": two_looks(12, dims, apart=0.5)}, 25)
    assert losses[-1] < 0.7 * losses[0]


def test_of_few_images_and_many_coordinates_the_covariance_term_has_a_floor():
    z = torch.randn(8, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alike = (z - z.mean(0)) / z.std(0)
    assert float(shared_variation(alike)) >= 64 / 7 - 1


def test_both_looks_pass_three_layers_of_which_two_are_normalised():
    nets, criterion = built(TINY, 2)
    assert [type(layer).__name__ for layer in criterion.projector] == [
        *("Linear", "BatchNorm1d", "ReLU") * 2,
        "Linear",
    ]
    assert criterion.projector[-1].bias is None
    batch = two_looks(6, 2)
    loss = float(criterion(nets, {"images": batch}, AT, "all").total.detach())
    views = (criterion.projector(nets["net"](x).pooled) for x in (batch.image, batch.views[0].image))
    assert loss == pytest.approx(float(criterion.between(*views).total.detach()), rel=1e-4)
