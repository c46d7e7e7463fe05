"""Grids and blocks: a synthetic volume whose values are its world positions."""

from __future__ import annotations

import numpy as np
import pytest

from allograft.core.geometry import Geometry
from allograft.datasets.brain_tissue import tissue
from allograft.datasets.grid import Box, blocks, onto


def positions(
    spacing: float, shape: tuple[int, int, int], origin: tuple[float, float, float]
) -> tuple[np.ndarray, Geometry]:
    """Return a volume whose value is 1 * superior + 10 * anterior + 100 * right, canonical axes."""
    direction = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry(shape=shape, spacing=(spacing,) * 3, origin=origin, direction=direction, unit="mm")
    index = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    right, anterior, superior = (geometry.affine() @ index)[:3].reshape(3, *shape)
    return (superior + 10 * anterior + 100 * right).astype(np.float32), geometry


@pytest.mark.parametrize("spacing", [0.5, 1.0, 1.5, 2.0])
def test_resampling_keeps_the_place_in_the_world_of_a_synthetic_ramp(spacing: float) -> None:
    box = Box(low=(2.0, 3.0, -4.0), extent=(6.0, 8.0, 10.0), spacing=1.0)
    volume, geometry = positions(spacing, (40, 44, 48), (-14.0, -8.0, -10.0))
    got = onto(volume, geometry, box)
    want, _ = positions(1.0, box.shape, (-4.0, 3.0, 2.0))
    assert got.shape == (6, 8, 10)
    np.testing.assert_allclose(got, want, atol=1e-2)


def test_outside_a_synthetic_volume_there_is_zero_and_on_its_grid_values_stay() -> None:
    volume, geometry = positions(1.0, (5, 6, 7), (0.0, 0.0, 0.0))
    box = Box(low=(-2.0, 0.0, 0.0), extent=(7.0, 6.0, 7.0), spacing=1.0)
    got = onto(volume + 1, geometry, box)
    assert not got[:2].any()
    np.testing.assert_array_equal(got[2:], volume + 1)


def test_the_boxs_affine_places_a_part_where_its_values_say() -> None:
    box = Box(low=(2.0, 3.0, -4.0), extent=(6.0, 8.0, 10.0), spacing=2.0)
    right, anterior, superior = (box.affine((1, 2, 3)) @ [0, 0, 0, 1])[:3]
    assert (superior, anterior, right) == (4.0, 7.0, 2.0)


@pytest.mark.parametrize("cuts", [(1, 1, 1), (2, 2, 2), (1, 3, 2)])
def test_blocks_are_apart_by_the_gap_and_of_one_size(cuts: tuple[int, int, int]) -> None:
    owner = np.full((20, 31, 24), -1)
    found = list(blocks(owner.shape, cuts, 3))
    assert len({b.name for b in found}) == len(found) == np.prod(cuts)
    for number, block in enumerate(found):
        assert (owner[block.place] == -1).all()
        owner[block.place] = number
    assert len({owner[b.place].shape for b in found}) == 1
    for axis, cut in enumerate(cuts):
        used = (owner >= 0).any(axis=tuple(i for i in range(3) if i != axis))
        inside = used[np.flatnonzero(used)[0] : np.flatnonzero(used)[-1] + 1]
        assert (~inside).sum() == 3 * (cut - 1)


def test_a_voxel_has_the_class_of_the_largest_map_and_the_first_on_a_tie() -> None:
    grey = np.array([0.1, 0.6, 0.2, 0.5, 0.4, 0.0], np.float32)
    white = np.array([0.1, 0.3, 0.7, 0.5, 0.2, 0.0], np.float32)
    assert tissue(grey, white).tolist() == [0, 1, 2, 1, 0, 0]
