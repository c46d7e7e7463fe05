from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.core.input_spec import InputSpec
from allograft.data.io.image import Image
from allograft.data.normalise import Normaliser, normalise, normaliser
from allograft.data.placement import Placement
from allograft.data.preprocess import Preprocess, prepare, prepare_case, prepare_mask
from allograft.data.resample import resize


def synthetic(array: Any, full: tuple[float, float] | None = None) -> Image:
    values = np.asarray(array)
    return Image(
        array=values, geometry=Geometry.of_pixels(values.shape[1:]), channels=("",) * len(values), full_range=full
    )


RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (1, 9, 12), dtype=np.uint8)
CT = RNG.integers(-1000, 2000, (1, 6, 7, 8)).astype(np.int16)


def test_unit_scales_the_formats_range() -> None:
    out = prepare(synthetic(GREY8, (0, 255)), Preprocess())
    assert out.dtype == np.float32
    assert np.array_equal(out, GREY8.astype(np.float32) / np.float32(255))


def test_window_clips_and_scales() -> None:
    out = prepare(synthetic(CT), Preprocess(intensity="window", low=-100, high=300))
    assert np.allclose(out, np.clip((CT + 100.0) / 400, 0, 1))


def test_values_without_a_range_are_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"int16 .* no full range.*window"):
        prepare(synthetic(CT), Preprocess())
    black = prepare(synthetic(np.zeros((1, 4, 4), np.uint8)), Preprocess())
    assert not black.any()  # zero in any range


@pytest.mark.parametrize("intensity", ["standard", "percentile"])
def test_standardised_channels_have_mean_0_and_variance_1(intensity: Any) -> None:
    both = np.concatenate([CT, CT * 3 + 5])
    out = prepare(synthetic(both), Preprocess(intensity=intensity))
    assert np.allclose(out.mean((1, 2, 3)), 0, atol=1e-5)
    assert np.allclose(out.std((1, 2, 3)), 1, atol=1e-4)
    joint = prepare(synthetic(both), Preprocess(intensity=intensity, per_channel=False))
    assert abs(joint.mean()) < 1e-5
    assert abs(joint.std() - 1) < 1e-4
    assert abs(joint[0].mean()) + abs(joint[0].std() - 1) > 0.1


def test_standard_equals_sklearn() -> None:
    from sklearn.preprocessing import scale

    out = prepare(synthetic(GREY8), Preprocess(intensity="standard"))
    assert np.allclose(out.ravel(), scale(GREY8.astype(np.float64).ravel()), atol=1e-5)


def test_percentile_is_not_moved_by_an_outlier() -> None:
    wild = CT.astype(np.float32).copy()
    wild[0, 0, 0, 0] = 1e6
    calm, moved = (prepare(synthetic(a), Preprocess(intensity="percentile")) for a in (CT.astype(np.float32), wild))
    assert np.abs(calm - moved)[0, 1:].max() < 0.05
    plain = prepare(synthetic(wild), Preprocess(intensity="standard"))
    assert np.abs(plain)[0, 1:].max() < 0.1  # without clipping all else is squeezed together


@pytest.mark.parametrize("value", [0, 7, 3.14159, 1e20])
def test_a_constant_image_standardised_gives_zeros(value: float) -> None:
    for intensity in ("standard", "percentile"):
        out = prepare(synthetic(np.full((1, 5, 5), value, np.float32)), Preprocess(intensity=intensity))
        assert not out.any()


def test_colour_and_grey_convert_only_where_asked() -> None:
    rgb = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    grey = prepare(synthetic(rgb, (0, 255)), Preprocess(channels=1))
    assert np.allclose(grey[0], (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255, atol=1e-6)
    three = prepare(synthetic(GREY8, (0, 255)), Preprocess(channels=3))
    assert np.array_equal(three, np.repeat(three[:1], 3, 0))
    assert prepare(synthetic(rgb, (0, 255)), Preprocess()).shape == (3, 4, 5)
    with pytest.raises(DataError, match="2 channels"):
        prepare(synthetic(rgb[:2], (0, 255)), Preprocess(channels=3))


@pytest.mark.parametrize("size", [(5, 6), (20, 30), (9, 4), (9, 12)])
def test_resize_equals_torchs_antialiased_bilinear(size: tuple[int, int]) -> None:
    image = GREY8.astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    assert np.abs(resize(image, size) - theirs.numpy()).max() < 1e-3


def test_resize_in_3d_keeps_constants_and_means_and_equals_2d_on_depth_constant_volumes() -> None:
    assert np.allclose(resize(np.full((1, 5, 6, 7), 3, np.float32), (3, 9, 4)), 3)
    assert abs(resize(CT.astype(np.float32), (3, 7, 4)).mean() - CT.mean()) < 25
    flat = GREY8.astype(np.float32)
    volume = np.repeat(flat[:, None], 6, axis=1)
    assert np.allclose(resize(volume, (4, 5, 7)), resize(flat, (5, 7))[:, None], atol=1e-3)


def test_axes_must_fit_the_size() -> None:
    with pytest.raises(DataError, match=r"3-D, preprocess\.size has 2 axes"):
        prepare(synthetic(CT), Preprocess(size=(4, 4), intensity="standard"))


def test_values_that_are_not_finite_are_refused() -> None:
    bad = np.ones((1, 4, 4), np.float32)
    bad[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 of 16 values are not finite"):
        prepare(synthetic(bad), Preprocess(intensity="standard"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"intensity": "window"},
        {"low": 0},
        {"low": 2, "high": 1},
        {"intensity": "standard", "low": 0, "high": 1},
        {"size": (4,)},
        {"channels": 2},
        {"intensty": "unit"},
    ],
)
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocess(**wrong)


def test_masks_keep_their_labels_and_lie_on_the_images_grid() -> None:
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, :4, :] = 5
    placement = prepare_case(synthetic(mask, (0, 255)), Preprocess(size=(4, 6)))[1]
    out = prepare_mask(synthetic(mask), placement)
    assert out.shape == (4, 6)
    assert np.array_equal(out[:2], np.full((2, 6), 5))
    assert not out[2:].any()
    for bad in (mask.astype(np.float32) + 0.5, -mask.astype(np.int16), np.concatenate([mask, mask])):
        with pytest.raises(DataError):
            prepare_mask(synthetic(bad), Placement.whole(synthetic(bad).geometry))


def test_a_cards_contract_equals_torchvisions_normalize() -> None:
    from torchvision.transforms.v2.functional import normalize

    x = torch.rand(2, 3, 4, 5)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    out, note = normalise(x, InputSpec(mean=mean, std=std), "unit")
    assert torch.allclose(out, normalize(x, mean, std), atol=1e-6)
    assert "0.485" in note


def test_a_contract_with_another_range_scales_first() -> None:
    x = torch.rand(1, 1, 3, 3, 3)
    out, note = normalise(x, InputSpec(channels=1, low=-1024, high=1024, mean=(5,), std=(2,), axes="DHW"), "unit")
    assert torch.allclose(out, (x * 2048 - 1024 - 5) / 2, atol=1e-3)
    assert "[-1024, 1024]" in note


def test_one_grey_channel_takes_the_averaged_statistics_and_says_so() -> None:
    out, note = normalise(torch.ones(1, 1, 2, 2), InputSpec(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3)), "unit")
    assert torch.allclose(out, torch.full((1, 1, 2, 2), 3.0))
    assert "averaged" in note


def test_standardised_values_are_left_alone_and_it_is_said() -> None:
    x = torch.randn(2, 1, 3, 3)
    out, note = normalise(x, InputSpec(), "standard")
    assert torch.equal(out, x)
    assert "not applied" in note
    assert "no input contract" in normalise(x, None, "unit")[1]


def test_a_window_that_was_not_applied_is_refused() -> None:
    card = InputSpec(channels=1, window=(-1000, 400))
    fits = Preprocess(intensity="window", low=-1000, high=400)
    assert normaliser(card, fits.space, 1, preprocess=fits).scale == (1.0,)
    for other in (Preprocess(), Preprocess(intensity="window", low=-500, high=400), Preprocess(intensity="standard")):
        with pytest.raises(DataError, match=r"window -1000 to 400.*low: -1000"):
            normaliser(card, other.space, 1, preprocess=other)


def test_a_contract_for_other_channels_is_refused() -> None:
    with pytest.raises(DataError, match="3 channels"):
        Normaliser(scale=(1.0,), shift=(0.0,))(torch.ones(1, 3, 2, 2))
