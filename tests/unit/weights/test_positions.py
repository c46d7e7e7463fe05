"""Positions and relative biases between grids, judged by timm's own functions."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch

from allograft.core.input_spec import InputSpec
from allograft.nets.network import Network, Stage
from allograft.weights.adapt import resample_grid, resample_table
from allograft.weights.apply import apply
from allograft.weights.build import OTHER_TABLE, build_plan
from allograft.weights.fit_positions import fit_positions
from allograft.weights.kinds import Slot, slots
from allograft.weights.rules import Action, Rule
from allograft.weights.source import SourceWeights

timm = pytest.importorskip("timm")
layers = pytest.importorskip("timm.layers")
COPY = Rule(action=Action.COPY, why="all")


class Wrapped(torch.nn.Module):
    """A model as an encoder of one stage; never run here."""

    dims, in_channels, channels, strides = 2, 3, (8,), (1,)

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("all", ("model",)),)


def moved(big: torch.nn.Module, small: torch.nn.Module) -> tuple[Network, Any, SourceWeights]:
    """Transfer `small` into `big` through a plan."""
    net, source = Network(Wrapped(big), {}), SourceWeights.of(Network(Wrapped(small), {}), "s", InputSpec(), "s")
    plan = build_plan(net, source, (COPY,), start="x")
    plan.require_sound()
    apply(plan, net, source, seed=0)
    return net, {entry.target.rpartition("model.")[2]: entry for entry in plan.entries}, source


class _Shapes(torch.nn.Module):
    """Stands in where only tensors matter."""


@pytest.mark.parametrize("size", [(48, 48), (32, 64), (16, 48)])
def test_a_vit_at_another_size_has_the_positions_that_timm_gives_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allograft.weights.source.fingerprint", lambda *_: None)
    make = {"pretrained": False, "embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 8, "num_classes": 0}
    vit = timm.models.vision_transformer.VisionTransformer
    make.pop("pretrained")
    small, big = vit(img_size=32, **make), vit(img_size=size, **make)
    torch.nn.init.normal_(small.pos_embed)
    net, entries, _ = moved(big, small)
    wanted = layers.resample_abs_pos_embed(small.pos_embed, list(big.patch_embed.grid_size), [4, 4])
    torch.testing.assert_close(net.state_dict()["encoder.model.pos_embed"], wanted.detach())
    entry = entries["pos_embed"]
    assert entry.action is Action.RESAMPLE
    assert entry.args["new"] == "x".join(map(str, big.patch_embed.grid_size))


def test_the_sources_proportions_come_from_its_input_size() -> None:
    slot = Slot("encoder.pos_embed", "stem", "position", (1, 16, 8), grid=(4, 4))
    wide = fit_positions(slot, (1, 16, 8), InputSpec(size=(16, 64)))
    assert not isinstance(wide, str)
    assert wide.args["old"] == "2x8"  # as many tokens, and yet another grid
    plain = fit_positions(slot, (1, 16, 8))
    assert not isinstance(plain, str)
    assert plain.action is Action.COPY


@pytest.mark.parametrize(("old", "new"), [((2, 2, 2), (3, 3, 3)), ((4, 4, 4), (2, 3, 4))])
def test_positions_of_volumes_are_trilinear(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    table = torch.randn(1, prod(old), 5)
    slot = Slot("encoder.p.position_embeddings", "stem", "position", (1, prod(new), 5), dims=3, grid=new)
    how = fit_positions(slot, tuple(table.shape))
    assert not isinstance(how, str)
    assert (how.args["old"], how.args["new"]) == ("x".join(map(str, old)), "x".join(map(str, new)))
    axes = [torch.linspace(0.5, n - 0.5, n) for n in old]
    linear = (axes[0][:, None, None] + 2 * axes[1][None, :, None] - axes[2][None, None, :]).reshape(1, -1, 1)
    if old == (4, 4, 4) and new == (2, 3, 4):
        middle = resample_grid(linear, old, (2, 2, 2)).reshape(2, 2, 2)
        torch.testing.assert_close(middle[1, 0, 0] - middle[0, 0, 0], torch.tensor(2.0))
    flat = resample_grid(torch.full((1, prod(old), 5), 0.3), old, new)
    torch.testing.assert_close(flat, torch.full((1, prod(new), 5), 0.3))


@pytest.mark.parametrize("window", [(7, 7), (4, 4)])
def test_a_swin_window_of_another_size_has_the_biases_that_timm_gives_it(
    window: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allograft.weights.source.fingerprint", lambda *_: None)
    attention = timm.models.swin_transformer.WindowAttention
    small, big = attention(8, num_heads=2, window_size=(5, 5)), attention(8, num_heads=2, window_size=window)
    torch.nn.init.normal_(small.relative_position_bias_table)
    net, entries, _ = moved(big, small)
    key = "relative_position_bias_table"
    wanted = timm.layers.pos_embed_rel.resize_rel_pos_bias_table_simple(
        small.relative_position_bias_table, window, big.relative_position_bias_table.shape
    )
    torch.testing.assert_close(net.state_dict()[f"encoder.model.{key}"], wanted.detach())
    assert entries[key].args["table"] == 1
    index = entries.get("relative_position_index")
    assert index is None or index.why == OTHER_TABLE


def test_tables_of_windows_in_volumes_and_of_windows_that_are_not_square() -> None:
    slot = Slot("e.relative_position_bias_table", "s", "position", (3 * 5 * 7, 2), dims=3, grid=(3, 5, 7))
    how = fit_positions(slot, (27, 2))
    assert not isinstance(how, str)
    assert (how.args["old"], how.args["new"], how.args["prefix"]) == ("3x3x3", "3x5x7", 0)
    constant = resample_table(torch.full((28, 2), 0.5), (3, 3, 3), (3, 5, 7), 1)
    torch.testing.assert_close(constant, torch.full((106, 2), 0.5))
    assert "no grids" in str(fit_positions(slot, (26, 2)))
    assert "cannot become" in str(fit_positions(slot, (27, 3)))


def test_monai_knows_its_windows_too() -> None:
    monai = pytest.importorskip("monai.networks.nets.swin_unetr")
    net = Network(Wrapped(monai.WindowAttention(8, 2, (4, 2, 2), qkv_bias=True)), {})
    found = {slot.key.rpartition(".")[2]: slot for slot in slots(net)}
    assert found["relative_position_bias_table"].grid == (7, 3, 3)
