"""Barlow Twins: the loss is the paper's, zero if and only if correlations are the identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from allograft.objectives.barlow_twins import BarlowTwins, correlations
from two_view_material import AT, built, rows, taught, two_looks

TINY = BarlowTwins(hidden=16, output=8)


def _hadamard(times=1):
    """Return (8, 7): columns of mean 0, deviation 1 and no correlation."""
    found = np.ones((1, 1))
    for _ in range(3):
        found = np.block([[found, found], [found, -found]])
    return torch.from_numpy(found[:, 1:]).repeat(times, 1)


def test_the_loss_equals_that_of_lightly_and_correlations_those_of_numpy():
    a, b = rows(9, 5)
    found = built(TINY, 2)[1].between(a, b)
    assert float(found.total) == pytest.approx(float(BarlowTwinsLoss(0.005)(a, b)), abs=1e-6)
    want = np.corrcoef(a.numpy().T, b.numpy().T)[:5, 5:]
    np.testing.assert_allclose(correlations(a, b).numpy(), want, atol=1e-4)
    total = ((1 - np.diag(want)) ** 2).sum() + 0.005 * (want**2).sum() - 0.005 * (np.diag(want) ** 2).sum()
    assert float(found.total) == pytest.approx(total, rel=1e-4)


def test_the_loss_is_zero_if_and_only_if_correlations_are_the_identity():
    criterion, columns = built(TINY, 2)[1], _hadamard()
    assert float(criterion.between(columns, 3 * columns + 1).total) == pytest.approx(0, abs=1e-8)
    said_twice = columns.clone()
    said_twice[:, 1] = said_twice[:, 0]
    found = criterion.between(said_twice, said_twice)
    assert float(found.total) == pytest.approx(0.005 * 2, rel=1e-4)
    assert float(criterion.between(columns, -columns).total) == pytest.approx(4 * 7, rel=1e-4)
    constant = torch.ones(8, 7, dtype=torch.float64)
    assert float(criterion.between(constant, constant).total) == pytest.approx(7), "collapse costs all of the diagonal"


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_moves_the_encoder_and_falls_on_synthetic_images(dims):
    nets, criterion = built(TINY, dims)
    losses = taught(nets, criterion, {"images": two_looks(12, dims, apart=0.5)}, 25)
    assert losses[-1] < 0.5 * losses[0]


def test_redundancy_zero_leaves_the_diagonal_alone():
    a, b = rows(9, 5)
    found = built(TINY.model_copy(update={"redundancy": 0.0}), 2)[1].between(a, b)
    assert float(found.total) == float(found.parts["apart"])


def test_both_looks_pass_three_layers_of_which_two_are_normalised():
    nets, criterion = built(BarlowTwins(hidden=16, output=8), 2)
    assert [type(layer).__name__ for layer in criterion.projector] == [
        *("Linear", "BatchNorm1d", "ReLU") * 2,
        "Linear",
    ]
    assert all(layer.bias is None for layer in criterion.projector if isinstance(layer, torch.nn.Linear))
    batch = two_looks(6, 2)
    loss = float(criterion(nets, {"images": batch}, AT, "all").total.detach())
    views = (criterion.projector(nets["net"](x).pooled) for x in (batch.image, batch.views[0].image))
    assert loss == pytest.approx(float(criterion.between(*views).total.detach()), rel=1e-4)
