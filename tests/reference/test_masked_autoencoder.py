"""Masked autoencoder: what is hidden stays hidden, only that is judged, and it is rebuilt better than by its mean."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.decoders.tokens import places
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.nets.network import Network
from allograft.objectives.hidden_blocks import block_size, hidden
from allograft.objectives.masked_autoencoder import MaskedAutoencoder
from allograft.objectives.rebuilding import LeftOut
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


@pytest.mark.parametrize(("grid", "share", "expected"), [((4, 4), 0.75, 12), ((2, 2, 2), 0.6, 5), ((2, 1), 0.99, 1)])
def test_the_share_of_hidden_blocks_is_exact(grid, share, expected):
    found = hidden(7, grid, share)
    assert found.shape == (7, *grid)
    assert set(found.flatten(1).sum(1).tolist()) == {expected}
    assert len(hidden(50, (4, 4), 0.5).flatten(1).unique(dim=0)) > 10, "each image hides other blocks"


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_equals_numpys_mean_over_the_hidden_elements(dims, per_block):
    net = tiny_net(dims).eval()
    criterion = MaskedAutoencoder(block=4, per_block=per_block, share=0.3).build({"net": net}, TASK).eval()
    criterion.rebuild.fill.data.fill_(0.7)
    image = torch.randn(3, 3, *[8] * dims)
    torch.manual_seed(2)
    out = criterion.hide(image)
    made = criterion.rebuild.restorer(net, torch.where(out, torch.tensor(0.7), image)).detach().double().numpy()
    goal = image.double().numpy().copy()
    for one in goal if per_block else ():
        for corner in itertools.product((0, 4), repeat=dims):
            block = one[(slice(None), *(slice(c, c + 4) for c in corner))]
            block[...] = (block - block.mean()) / np.sqrt(block.var() + 1e-6)
    over = np.broadcast_to(out.numpy(), goal.shape)
    torch.manual_seed(2)
    found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
    assert float(found.total.detach()) == pytest.approx(((made - goal)[over] ** 2).mean(), abs=1e-6)
    assert float(found.parts["mean_guess"]) == pytest.approx((goal[over] ** 2).mean(), abs=1e-6)


def test_blocks_of_one_value_stay_finite():
    net = tiny_net(2)
    criterion = MaskedAutoencoder().build({"net": net}, TASK)
    found = criterion({"net": net}, {"images": Batch(image=torch.full((2, 3, 8, 8), 100.0))}, AT, "all")
    assert float(found.parts["mean_guess"]) == 0


def test_hidden_elements_do_not_reach_the_network_and_seen_ones_not_the_loss():
    net = tiny_net(2).eval()
    criterion = MaskedAutoencoder(block=4, per_block=False).build({"net": net}, TASK).eval()
    image = torch.randn(3, 3, 8, 8)
    criterion.hide = lambda shown: torch.zeros(3, 1, 8, 8, dtype=torch.bool).index_fill_(3, torch.arange(4), True)
    moved = image.clone()
    moved[..., :4] += 5.0
    made, again = (criterion.rebuild(net, x, criterion.hide(x)) for x in (image, moved))
    assert torch.equal(again, made), "what is hidden is not seen"
    assert not torch.equal(criterion.rebuild(net, moved, ~criterion.hide(moved)), made), "the check can say no"


def _vit():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(TimmEncoder("test_vit"), {})


def test_a_transformer_reads_the_tokens_that_are_not_hidden_and_no_others():
    net = _vit().eval()
    criterion = MaskedAutoencoder(per_block=False).build({"net": net}, TASK).eval()
    assert isinstance(criterion.rebuild, LeftOut)
    image, lengths = torch.randn(2, 3, 64, 64), []
    out = criterion.hide(image)
    assert out.reshape(2, 4, 16, 4, 16).float().std((2, 4)).max() == 0, "whole tokens"
    net.encoder.model.blocks[0].register_forward_hook(lambda _m, given, _o: lengths.append(given[0].shape[1]))
    made = criterion.rebuild(net, image, out)
    assert lengths == [1 + 4], "the class token and a quarter of 16"
    assert torch.equal(criterion.rebuild(net, torch.where(out, image + 9, image), out), made)
    assert not torch.equal(criterion.rebuild(net, torch.where(out, image, image + 9), out), made), "can say no"
    torch.manual_seed(1)
    found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all").total
    torch.manual_seed(1)
    over = criterion.hide(image).expand_as(image)
    made = criterion.rebuild(net, image, over[:, :1])
    assert float(found.detach()) == pytest.approx(float((made - image)[over].square().mean().detach()), abs=1e-6)


def test_tokens_that_are_all_seen_are_the_encoders_own_features():
    encoder = _vit().encoder.eval()
    image = torch.randn(2, 3, 32, 48)
    assert encoder.token == 16
    own = encoder(image)[-2].flatten(2).transpose(1, 2)
    order = torch.stack([torch.randperm(6) for _ in range(2)])
    assert torch.allclose(encoder.seen(image, order), own[torch.arange(2)[:, None], order], atol=1e-5)
    assert TimmEncoder("resnet18").token == 0


def test_a_transformer_learns_to_tell_hidden_tokens_of_synthetic_images():
    torch.manual_seed(0)
    net = _vit()
    criterion = MaskedAutoencoder().build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.parameters(), *criterion.parameters()], 0.002)
    ramp = torch.linspace(-1, 1, 64)
    image = (ramp[:, None] * ramp)[None, None] + 0.05 * torch.randn(4, 3, 64, 64)
    for _ in range(30):
        found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
        rate.zero_grad()
        found.total.backward()
        rate.step()
    assert float(found.total.detach()) < 0.6 * float(found.parts["mean_guess"])


def test_places_differ_along_every_axis():
    for grid in ((5, 4), (3, 4, 5)):
        found = places(grid, 10)
        assert found.shape == (np.prod(grid), 10)
        assert len(found.unique(dim=0)) == len(found)


@pytest.mark.parametrize(
    ("size", "side", "token", "expected"),
    [
        ((224, 224), None, 16, (16, 16)),
        ((224, 224), None, 0, (16, 16)),
        ((48, 48), None, 0, (4, 4)),
        ((5, 64, 64), None, 0, (5, 4, 4)),
        ((8, 8, 8), 4, 0, (4, 4, 4)),
        ((64, 64), None, 16, (16, 16)),
    ],
)
def test_blocks_divide_every_axis_and_are_whole_tokens(size, side, token, expected):
    assert block_size(size, side, token) == expected


@pytest.mark.parametrize(
    ("size", "side", "token"),
    [((8, 8), 5, 0), ((31, 31), None, 0), ((8, 8), 8, 0), ((32, 32), 8, 16), ((16, 16), None, 16)],
)
def test_blocks_that_do_not_fit_are_refused(size, side, token):
    with pytest.raises(ConfigError, match=rf"\({size[0]}, {size[1]}\) cannot be cut.*Set block"):
        block_size(size, side, token)


def test_a_study_learns_what_is_wrong_with_its_blocks():
    criterion = MaskedAutoencoder(block=5).build({"net": tiny_net(2)}, TASK)
    with pytest.raises(ConfigError, match="blocks of 5"):
        criterion({"net": tiny_net(2)}, {"images": Batch(image=torch.randn(2, 3, 8, 8))}, AT, "all")


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
