from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from allograft.weights.adapt import (
    collapse,
    inflate,
    resample_grid,
    rescale_channels,
    sample_mean_var,
    select,
)

CONV = {2: F.conv2d, 3: F.conv3d}


def kernel(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("dims", [2, 3])
def test_sum_gives_one_grey_channel_what_three_equal_ones_gave(dims: int) -> None:
    w, x = kernel(4, 3, *[3] * dims), kernel(2, 1, *[7] * dims)
    grey = CONV[dims](x, rescale_channels(w, 1, "sum"))
    torch.testing.assert_close(grey, CONV[dims](x.expand(-1, 3, *[-1] * dims), w))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_mean_gives_c_equal_channels_what_three_equal_ones_gave(dims: int, channels: int) -> None:
    w, x = kernel(4, 3, *[3] * dims), kernel(2, 1, *[7] * dims)
    new = CONV[dims](x.expand(-1, channels, *[-1] * dims), rescale_channels(w, channels, "mean"))
    torch.testing.assert_close(new, CONV[dims](x.expand(-1, 3, *[-1] * dims), w))


def test_cycle_repeats_in_order_and_is_exact_for_multiples() -> None:
    w, x = kernel(4, 3, 3, 3), kernel(2, 1, 7, 7)
    torch.testing.assert_close(rescale_channels(w, 4, "cycle"), torch.cat([w, w[:, :1]], 1) * 0.75)
    six = F.conv2d(x.expand(-1, 6, -1, -1), rescale_channels(w, 6, "cycle"))
    torch.testing.assert_close(six, F.conv2d(x.expand(-1, 3, -1, -1), w))
    four = F.conv2d(x.expand(-1, 4, -1, -1), rescale_channels(w, 4, "cycle"))
    assert not torch.allclose(four, F.conv2d(x.expand(-1, 3, -1, -1), w))


def test_sum_makes_one_channel_only() -> None:
    with pytest.raises(ValueError, match="one input channel, got 2"):
        rescale_channels(kernel(4, 3, 3, 3), 2, "sum")


@pytest.mark.parametrize(("fill", "depth"), [("average", 3), ("average", 4), ("centre", 3), ("slice", 1)])
def test_an_inflated_kernel_answers_a_constant_volume_like_the_slice(fill: str, depth: int) -> None:
    w, x = kernel(4, 3, 3, 3), kernel(2, 3, 8, 8)
    volume = x.unsqueeze(2).expand(-1, -1, 9, -1, -1)
    out = F.conv3d(volume, inflate(w, depth, fill))  # type: ignore[arg-type] # a literal from the table above
    torch.testing.assert_close(out, F.conv2d(x, w).unsqueeze(2).expand_as(out))


def test_centre_and_slice_act_slice_by_slice_on_any_volume_and_average_does_not() -> None:
    w, volume = kernel(4, 3, 3, 3), kernel(2, 3, 9, 8, 8)
    each = torch.stack([F.conv2d(volume[:, :, d], w) for d in range(9)], 2)
    torch.testing.assert_close(F.conv3d(volume, inflate(w, 3, "centre"), padding=(1, 0, 0)), each)
    torch.testing.assert_close(F.conv3d(volume, inflate(w, 1, "slice")), each)
    assert not torch.allclose(F.conv3d(volume, inflate(w, 3, "average"), padding=(1, 0, 0)), each)


@pytest.mark.parametrize(("fill", "depth", "says"), [("centre", 4, "odd depth"), ("slice", 3, "depth 1")])
def test_a_depth_that_does_not_suit_is_refused(fill: str, depth: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        inflate(kernel(1, 1, 3, 3), depth, fill)  # type: ignore[arg-type] # a literal from the table above


@pytest.mark.parametrize("fill", ["average", "centre"])
def test_collapse_undoes_inflation(fill: str) -> None:
    w = kernel(4, 3, 3, 3)
    torch.testing.assert_close(collapse(inflate(w, 5, fill)), w)  # type: ignore[arg-type] # a literal


def test_a_collapsed_kernel_answers_an_image_like_the_repeated_volume() -> None:
    w, x = kernel(4, 3, 3, 5, 5), kernel(2, 3, 8, 8)
    volume = F.conv3d(x.unsqueeze(2).expand(-1, -1, 3, -1, -1), w)
    torch.testing.assert_close(F.conv2d(x, collapse(w)), volume.squeeze(2))


def test_positions_keep_prefix_constants_and_equal_grids() -> None:
    p = kernel(1, 1 + 16, 5).float()
    assert resample_grid(p, (4, 4), (4, 4), 1) is p
    moved = resample_grid(p, (4, 4), (6, 6), 1)
    assert moved.shape == (1, 37, 5)
    assert torch.equal(moved[:, :1], p[:, :1])
    flat = resample_grid(torch.full((1, 16, 5), 0.7), (4, 4), (7, 7))
    torch.testing.assert_close(flat, torch.full((1, 49, 5), 0.7))
    timm = pytest.importorskip("timm.layers")
    theirs = timm.resample_abs_pos_embed(p, [6, 6], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(moved, theirs)


def test_sampling_keeps_moments_and_divides_the_variance_by_the_fan_in() -> None:
    w = 0.3 + 0.1 * kernel(64, 32, 3, 3)
    drawn = sample_mean_var(w, (64, 32, 3, 3, 3), Generator().manual_seed(1)).double()
    count = drawn.numel()
    std = (w.var(correction=0) / 3).sqrt()
    assert abs(drawn.mean() - w.mean()) < 4 * std / count**0.5
    assert abs(drawn.std() - std) < 4 * std / (2 * count) ** 0.5
    again = sample_mean_var(w, (64, 32, 3, 3, 3), Generator().manual_seed(1)).double()
    assert torch.equal(drawn, again)


def test_select_takes_the_leading_rows_and_columns() -> None:
    w = kernel(4, 3, 3, 3)
    assert torch.equal(select(w, (2, 2, 3, 3)), w[:2, :2])
