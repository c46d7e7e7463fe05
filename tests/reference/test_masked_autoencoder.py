"""Masked autoencoder: what is hidden stays hidden, only that is judged, and it is rebuilt better than by its mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.masked_autoencoder import MaskedAutoencoder, block_moments, hidden
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


@pytest.mark.parametrize(("grid", "share", "expected"), [((4, 4), 0.75, 12), ((2, 2, 2), 0.6, 5), ((2, 1), 0.99, 1)])
def test_the_share_of_hidden_blocks_is_exact(grid, share, expected):
    found = hidden(7, grid, share)
    assert found.shape == (7, *grid)
    assert set(found.flatten(1).sum(1).tolist()) == {expected}
    assert len(hidden(50, (4, 4), 0.5).flatten(1).unique(dim=0)) > 10, "each image hides other blocks"


@pytest.mark.parametrize("dims", [2, 3])
def test_moments_of_blocks_equal_numpys(dims):
    image = torch.randn(2, 3, *[8] * dims, dtype=torch.float64)
    mean, deviation = block_moments(image, (4,) * dims)
    part = (slice(1, 2), slice(2, 3), *[slice(4, 8)] * dims)
    assert np.allclose(mean[part].numpy(), image[part].numpy().mean())
    assert np.allclose(deviation[part].numpy(), image[part].numpy().std())


def test_hidden_elements_do_not_reach_the_network_and_seen_ones_not_the_loss():
    net = tiny_net(2).eval()
    criterion = MaskedAutoencoder(block=4, per_block=False).build({"net": net}, TASK).eval()
    image = torch.randn(3, 3, 8, 8)
    criterion._hide = lambda shown: torch.zeros(3, 1, 8, 8, dtype=torch.bool).index_fill_(3, torch.arange(4), True)
    whole = float(criterion({"net": net}, {"images": Batch(image=image)}, AT, "all").total)
    made = criterion.restorer(net, torch.where(criterion._hide(image), criterion.fill, image))
    expected = float((made - image)[..., :4].square().mean())
    assert whole == pytest.approx(expected, abs=1e-6)
    moved = image.clone()
    moved[..., :4] += 5.0
    again = criterion.restorer(net, torch.where(criterion._hide(moved), criterion.fill, moved))
    assert torch.equal(again, made), "what is hidden is not seen"


def test_blocks_that_do_not_fit_are_refused():
    net = tiny_net(2)
    criterion = MaskedAutoencoder(block=5).build({"net": net}, TASK)
    with pytest.raises(ConfigError, match="set block"):
        criterion({"net": net}, {"images": Batch(image=torch.randn(2, 3, 8, 8))}, AT, "all")


@pytest.mark.parametrize("dims", [2, 3])
def test_hidden_parts_of_synthetic_images_are_rebuilt_better_than_by_guessing(dims):
    torch.manual_seed(0)
    net = tiny_net(dims)
    criterion = MaskedAutoencoder(share=0.5, block=2, per_block=False, width=16).build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    ramp = torch.linspace(-1, 1, 8).reshape(1, 1, 8, *[1] * (dims - 1))
    image = ramp + 0.05 * torch.randn(6, 3, *[8] * dims)
    for _ in range(60):
        found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
    assert float(found.total.detach()) < 0.5 * float(found.parts["mean_guess"])
