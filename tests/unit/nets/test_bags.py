"""Bags in a network: cutting, putting back, padding, blank parts, names of tensors, the feature cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from allograft.catalog import parts
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.bags import Bagging
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec

THREE = Task(kind="multiclass", classes=("a", "b", "c"))


def network(dims: int, pool: str = "gated_attention", **bag: Any) -> Network:
    spec = NetSpec(encoder="resnet10_small", dims=dims, width=0.0625, pool=pool, bag={"of": "tiles", "size": 8, **bag})
    net = build_network(spec, {"label": THREE}, in_channels=1, seed=0, parts=parts(spec))
    with torch.no_grad():
        net.heads["label"].linear.weight.mul_(100)
    return net.eval()


@pytest.mark.parametrize("size", [(12, 20), (9, 5, 6)])
def test_tiles_hold_the_image_in_the_order_of_the_grid_and_spread_puts_them_back(size: tuple[int, ...]) -> None:
    tile = (4, 8)[: len(size)] if len(size) == 2 else (4, 4, 4)
    bag, x = Bagging(tile), torch.randn(2, 3, *size)
    cut = bag.cut(x)
    grid = bag.grid(size)
    assert cut.shape == (2, bag.count(size), 3, *tile)
    last = tuple(slice((g - 1) * t, min(g * t, n)) for g, t, n in zip(grid, tile, size, strict=True))
    inside = tuple(slice(s.stop - s.start) for s in last)
    torch.testing.assert_close(cut[(slice(None), -1, slice(None), *inside)], x[(slice(None), slice(None), *last)])
    torch.testing.assert_close(bag.spread(cut[:, :, 0], size), x[:, 0])


def test_slices_are_the_slices() -> None:
    x = torch.randn(2, 3, 5, 6, 7)
    cut = Bagging().cut(x)
    torch.testing.assert_close(cut[:, 3], x[:, :, 3])
    torch.testing.assert_close(Bagging().spread(cut[:, :, 0], (5, 6, 7)), x[:, 0])


@pytest.mark.parametrize(("dims", "bag"), [(2, {}), (3, {}), (3, {"of": "slices", "size": None})])
def test_every_instance_is_encoded_as_an_image_of_its_own(dims: int, bag: dict[str, Any]) -> None:
    net, x = network(dims, **bag), torch.randn(2, 1, *(16,) * dims)
    assert net.shape.dims == (2 if bag else dims)
    assert net.bag is not None
    with torch.no_grad():
        out, cut = net(x), net.bag.cut(x)
        for k in (0, 3):
            torch.testing.assert_close(out.levels[-1][:, :, k], net.encoder(cut[:, k])[-1], atol=1e-5, rtol=1e-4)
    assert out.logits["label"].shape == (2, 3)


def test_tensors_of_the_encoder_keep_their_names_so_that_weights_load() -> None:
    spec = NetSpec(encoder="resnet10_small", dims=2, width=0.0625)
    plain = build_network(spec, {"label": THREE}, in_channels=1, seed=0, parts=parts(spec))
    for net in (network(2), network(3, of="slices", size=None)):
        assert {k: v.shape for k, v in net.encoder.state_dict().items()} == {
            k: v.shape for k, v in plain.encoder.state_dict().items()
        }
        assert all(torch.equal(v, plain.encoder.state_dict()[k]) for k, v in net.encoder.state_dict().items())


@pytest.mark.parametrize("pool", ["mean", "max", "lse", "top_k", "attention", "gated_attention"])
@pytest.mark.parametrize(("dims", "of"), [(2, "tiles"), (3, "tiles"), (3, "slices")])
def test_an_image_padded_by_blank_parts_is_judged_as_without_them(pool: str, dims: int, of: str) -> None:
    net = network(dims, pool, of=of, size=8 if of == "tiles" else None, skip_blank=True)
    x = torch.randn(2, 1, *(16,) * dims)
    larger = torch.zeros(2, 1, 24, *x.shape[3:])
    larger[:, :, 8:] = x
    with torch.no_grad():
        torch.testing.assert_close(net(larger).logits["label"], net(x).logits["label"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(larger).pooled, net(x).pooled, atol=1e-5, rtol=1e-4)
        blind = network(dims, pool, of=of, size=8 if of == "tiles" else None)
        if pool not in {"max", "top_k"}:
            assert not torch.allclose(blind(larger).logits["label"], blind(x).logits["label"], atol=1e-5)


def test_blank_parts_do_not_reach_the_statistics_of_normalisation() -> None:
    net, other = network(2, skip_blank=True).train(), network(2, skip_blank=True).train()
    x = torch.randn(2, 1, 16, 16)
    larger = torch.zeros(2, 1, 24, 16)
    larger[:, :, :16] = x
    net(x), other(larger)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], atol=1e-6, rtol=1e-5)


def test_an_image_that_is_blank_all_over_is_still_judged() -> None:
    net, x = network(2, skip_blank=True), torch.randn(2, 1, 16, 16)
    x[0] = 0.3
    assert net(x).logits["label"].isfinite().all()


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("dims", "of"), [(2, "tiles"), (3, "tiles"), (3, "slices")])
def test_compact_levels_of_the_feature_cache_give_the_same_logits(dims: int, of: str, skip: bool) -> None:
    net = network(dims, of=of, size=8 if of == "tiles" else None, skip_blank=skip)
    x = torch.randn(2, 1, *(16,) * dims)
    x[:, :, :8] = 0
    with torch.no_grad():
        levels = net.encode(x)
        small = net.compact(levels)
        torch.testing.assert_close(net.decode(small).logits["label"], net.decode(levels).logits["label"])
    assert small[0].shape[2] == (16 if of == "slices" else 2**dims)
    assert small[0].shape[3:].numel() == 1


def test_every_parameter_learns_and_one_tile_moves_the_judgement() -> None:
    net, x = network(2), torch.randn(2, 1, 16, 16)
    net(x).logits["label"].square().sum().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(idle) <= {"heads.label.score.bias"}  # a softmax knows no constant
    changed = x.clone()
    changed[:, :, 8:, 8:] += 3
    assert not torch.allclose(net(x).logits["label"], net(changed).logits["label"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pool": "max"}, "say which"),
        ({"pool": "slice_max", "bag": {"of": "tiles"}}, "keep slices apart"),
        ({"bag": {"of": "slices"}}, "cut pictures into tiles"),
        ({"bag": {"of": "slices", "size": 8}, "dims": 3}, "Leave it out"),
        ({"bag": {"of": "tiles", "size": (8, 8, 8)}}, "3 axes"),
        ({"bag": {"of": "tiles", "r": 2}, "pool": "max"}, "lse"),
        ({"bag": {"of": "tiles", "k": 2}, "pool": "lse"}, "top_k"),
        ({"bag": {"of": "tiles", "size": 2}}, "at least 4"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NetSpec(encoder="resnet10", **fields)


def test_a_bag_of_a_segmentation_is_refused() -> None:
    spec = NetSpec(encoder="resnet10", width=0.0625, decoder="unet", bag={"of": "tiles"})
    task = Task(kind="segmentation", classes=("a", "b"))
    with pytest.raises(ConfigError, match="judged as a whole"):
        build_network(spec, {"label": task}, in_channels=1, seed=0, parts=parts(spec))
