"""Voxel features against SciPy's filters, in 2-D and 3-D; positions; names with scales."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from allograft.catalog import encoder_factory
from allograft.core.errors import ConfigError
from allograft.nets.encoders.voxel_features import VoxelFeatures
from allograft.testing.encoders import check_eval_is_deterministic, check_levels, check_meta, check_stages

SIZE = {2: (20, 17), 3: (14, 13, 9)}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("position", [False, True])
def test_keeps_the_contract_of_encoders(dims: int, position: bool) -> None:
    factory = partial(VoxelFeatures, position=position)
    encoder, x = factory(dims=dims, in_channels=2), torch.randn(2, 2, *SIZE[dims])
    check_levels(encoder, x)
    check_stages(encoder)
    check_eval_is_deterministic(encoder, x)
    check_meta(factory, encoder)
    assert not encoder.state_dict()


def test_a_volume_of_one_channel_has_thirteen_features_with_positions() -> None:
    assert VoxelFeatures(dims=3, position=True).channels == (13,)
    assert VoxelFeatures(dims=3).channels == (10,)
    assert VoxelFeatures(dims=2, position=True).channels == (12,)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("spacing", [(), (3.0, 1.0, 0.5)])
def test_features_are_scipys(dims: int, spacing: tuple[float, ...]) -> None:
    scales, steps = (1.0, 2.5), spacing[:dims] or (1.0,) * dims
    image = np.random.default_rng(0).normal(size=(2, *SIZE[dims]))
    encoder = VoxelFeatures(dims=dims, in_channels=2, scales=scales, spacing=spacing[:dims])
    found = encoder(torch.from_numpy(image).float()[None])[0][0].numpy()
    for channel, one in enumerate(image):
        expected = [one]
        for scale in scales:
            sigma = [scale / step for step in steps]
            expected.append(ndimage.gaussian_filter(one, sigma, mode="nearest"))
            first, second = [], []
            for axis, step in enumerate(steps):
                order = [int(i == axis) for i in range(dims)]
                first.append(ndimage.gaussian_filter(one, sigma, order=order, mode="nearest") / step)
                twice = [2 * n for n in order]
                second.append(ndimage.gaussian_filter(one, sigma, order=twice, mode="nearest") / step**2)
            expected += [np.sqrt(sum(d**2 for d in first)), np.abs(sum(second))]
        assert found[7 * channel : 7 * channel + 7] == pytest.approx(np.stack(expected), abs=2e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_scale_is_scipys_gradient_magnitude_and_laplacian(dims: int) -> None:
    image = np.random.default_rng(1).normal(size=SIZE[dims])
    _, _, slope, curve = VoxelFeatures(dims=dims, scales=(2.0,))(torch.from_numpy(image).float()[None, None])[0][0]
    assert slope.numpy() == pytest.approx(ndimage.gaussian_gradient_magnitude(image, 2, mode="nearest"), abs=1e-5)
    assert curve.numpy() == pytest.approx(np.abs(ndimage.gaussian_laplace(image, 2, mode="nearest")), abs=1e-5)


def test_positions_are_the_middles_of_elements_along_each_axis() -> None:
    found = VoxelFeatures(dims=2, scales=(1.0,), position=True)(torch.zeros(2, 1, 4, 2))[0][1, -2:]
    assert found[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert found[1, 0].tolist() == [-0.5, 0.5]


def test_names_say_scales_and_spacing() -> None:
    assert encoder_factory("voxel_features:1,3")(dims=3, in_channels=1, width=1, drop_path=0).channels == (7,)
    made = encoder_factory("voxel_features_position:2@3,1,1")(dims=3, in_channels=1, width=1, drop_path=0)
    assert (made.scales, made.spacing, made.position) == ((2.0,), (3.0, 1.0, 1.0), True)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("voxel_features:big", {}),
        ("voxel_features:0", {}),
        ("voxel_features:1@1,1", {}),
        ("voxel_features", {"width": 2}),
    ],
)
def test_what_cannot_be_filtered_is_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="voxel_features"):
        encoder_factory(name)(**{"dims": 3, "in_channels": 1, "width": 1.0, "drop_path": 0.0, **settings})
