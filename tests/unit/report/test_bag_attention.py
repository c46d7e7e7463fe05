"""Attention of bags: what weighed most lies where the network was made to look, and the report says so in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allograft.analysis.bag_attention import attends, bag_attention
from allograft.analysis.grad_cam import heat_maps
from allograft.catalog import parts
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.report.figures.heat import glow, profile
from allograft.report.heat import attention_words
from allograft.study.heat import Heat, read_heat, write_heat

TASK = Task(kind="multiclass", classes=("a", "b"))


def network(dims: int, of: str, pool: str = "attention") -> Network:
    spec = NetSpec(
        encoder="resnet10_small",
        dims=dims,
        width=0.0625,
        pool=pool,
        bag={"of": of, "size": 8 if of == "tiles" else None},
    )
    return build_network(spec, {"label": TASK}, in_channels=1, seed=0, parts=parts(spec)).eval()


@pytest.mark.parametrize(
    ("dims", "of", "size"), [(2, "tiles", (20, 16)), (3, "slices", (6, 8, 8)), (3, "tiles", (8, 16, 16))]
)
def test_attention_lies_on_the_grid_of_the_synthetic_image_and_sums_to_one(
    dims: int, of: str, size: tuple[int, ...]
) -> None:
    net, x = network(dims, of), torch.randn(2, 1, *size)
    assert attends(net, "label")
    found = bag_attention(net, x, "label")
    assert found.heat.shape == (2, *size)
    torch.testing.assert_close(found.shares.sum(1), torch.ones(2))
    torch.testing.assert_close(found.heat.flatten(1).amax(1), torch.ones(2))
    k = int(found.shares[0].argmax())
    tile = tuple(slice(8 * i, 8 * i + 8) for i in np.unravel_index(k, found.grid)) if of == "tiles" else (k,)
    assert bool((found.heat[0][tile] > 0.999).all())
    net.heads["label"].score.weight.data.mul_(-1)
    torch.testing.assert_close(bag_attention(net, x, "label").shares.argmin(1), found.shares.argmax(1))


def test_other_poolings_show_grad_cam_at_the_places_of_the_tiles() -> None:
    net, x = network(2, "tiles", "mean"), torch.randn(1, 1, 20, 16)
    assert not attends(net, "label")
    assert heat_maps(net, x, torch.tensor([1]), "label").shape == (1, 20, 16)


def heat(shares: list[float], grid: tuple[int, ...], place: int = 1, of: int = 1) -> Heat:
    flat = np.zeros((8, 8), np.uint8)
    return Heat(flat, flat, 0, 1, 0.75, place, of, np.array(shares, np.float32), grid)


def test_words_name_slices_and_tiles_with_most_attention_first() -> None:
    assert attention_words(heat([0.2, 0.7, 0.1], (3,))) == "70 % slice 2, 20 % slice 1, 10 % slice 3, of 3 slices"
    assert attention_words(heat([0.0] * 7 + [1.0], (2, 2, 2))).startswith("100 % layer 2 row 2 column 2, ")
    assert attention_words(heat([], ())) == ""


def test_slices_get_a_profile_below_the_image_and_tiles_none() -> None:
    one = heat([0.25, 0.5, 0.25], (3,), place=2, of=3)
    bars = str(profile(one, 10)).split("<rect")[1:]
    assert [float(bar.split('height="')[1].split('"')[0]) for bar in bars] == [18, 36, 18]
    assert "#f6a21b" in bars[1]
    assert "#f6a21b" not in bars[0] + bars[2]
    drawn = str(glow(one, what="how <it> weighs"))
    assert drawn.count("<rect") == 3
    assert 'aria-label="how &lt;it&gt; weighs"' in drawn
    assert "<rect" not in str(glow(heat([0.25] * 4, (2, 2)), what="x"))


def test_a_map_comes_back_from_its_file_with_and_without_attention(tmp_path: Path) -> None:
    for name, one in (("a", heat([0.25, 0.75], (2,), 2, 2)), ("b", heat([], ()))):
        write_heat(tmp_path / name, one)
        back = read_heat(tmp_path / name)
        assert back.grid == one.grid
        np.testing.assert_array_equal(back.shares, one.shares)
