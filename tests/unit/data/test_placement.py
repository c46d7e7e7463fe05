from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from allograft.core.errors import ConfigError, DataError
from allograft.core.geometry import Geometry
from allograft.data.io.image import Image
from allograft.data.placement import Placement
from allograft.data.preprocess import Preprocess, prepare, prepare_case, prepare_mask
from allograft.data.resample import foreground_box

RNG = np.random.default_rng(0)


def synthetic(array: Any, spacing: tuple[float, ...] | None = None) -> Image:
    values = np.asarray(array)
    shape = values.shape[1:]
    geometry = Geometry.of_pixels(shape)
    if spacing:
        geometry = geometry.model_copy(update={"spacing": spacing, "unit": "mm"})
    return Image(array=values, geometry=geometry, channels=("",) * len(values))


def ball(shape: tuple[int, ...], spacing: tuple[float, ...], radius: float) -> Any:
    """A ball of `radius` mm in the middle, as labels."""
    grids = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    return (sum(g**2 for g in grids) <= radius**2).astype(np.int16)


@pytest.mark.parametrize("shape", [(7, 9), (5, 7, 9)])
def test_where_nothing_changes_the_way_back_is_the_identity(shape: tuple[int, ...]) -> None:
    image = synthetic(RNG.normal(size=(2, *shape)).astype(np.float32))
    array, placement = prepare_case(image, Preprocess(intensity="standard"))
    labels = RNG.integers(0, 5, shape)
    assert placement == Placement.whole(image.geometry)
    assert placement.spacing == image.geometry.spacing
    assert array.shape == image.array.shape
    assert np.array_equal(placement.restore(labels), labels)
    assert np.array_equal(placement.store(labels), labels)


def test_a_crop_keeps_every_voxel_of_a_cuboid_to_the_last_slice() -> None:
    volume = np.zeros((1, 12, 10, 11), np.int16)
    volume[0, 3:12, 0:4, 5:9] = RNG.integers(1, 100, (9, 4, 4))
    array, placement = prepare_case(synthetic(volume), Preprocess(intensity="standard", crop="foreground"))
    assert placement.box == ((3, 12), (0, 4), (5, 9))
    assert array.shape == (1, 9, 4, 4)
    labels = np.ones((9, 4, 4), np.uint8)
    back = placement.restore(labels)
    assert back.dtype == np.uint8
    assert np.array_equal(back, (volume[0] != 0).astype(np.uint8))
    assert (placement.restore(labels, outside=9)[0] == 9).all()


def test_ct_is_cropped_above_the_window_and_not_at_0() -> None:
    volume = np.full((1, 10, 10, 10), -1000, np.int16)
    volume[0, 2:5, 3:6, 4:7] = -700  # negative, yet above the window's low end
    volume[0, 4, 5, 6] = 0
    window = Preprocess(intensity="window", low=-900, high=500, crop="foreground")
    assert prepare_case(synthetic(volume), window)[1].box == ((2, 5), (3, 6), (4, 7))
    standard = Preprocess(intensity="standard", crop="foreground")
    assert prepare_case(synthetic(volume), standard)[1].box == ((0, 10), (0, 10), (0, 10))  # no voxel lost
    assert foreground_box(np.zeros((1, 4, 5), np.float32), None) == ((0, 4), (0, 5))


def test_any_channel_counts_as_foreground() -> None:
    volume = np.zeros((2, 8, 8), np.float32)
    volume[0, 1, 1], volume[1, 6, 2] = 3, -3
    assert foreground_box(volume, None) == ((1, 7), (1, 3))


SPACINGS = [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (0.5, 2.0, 1.3)]


@pytest.mark.parametrize("old", SPACINGS)
@pytest.mark.parametrize("new", SPACINGS)
def test_resampling_keeps_extents_and_volumes_in_mm(old: tuple[float, ...], new: tuple[float, ...]) -> None:
    extent = (36.0, 30.0, 28.0)
    shape = tuple(round(mm / s) for mm, s in zip(extent, old, strict=True))
    labels = ball(shape, old, 11)
    array, placement = prepare_case(
        synthetic(labels[None].astype(np.float32), old), Preprocess(intensity="standard", spacing=new)
    )
    stored = prepare_mask(synthetic(labels[None], old), placement)
    assert array.shape[1:] == stored.shape == placement.shape
    for n, s, mm, want in zip(placement.shape, placement.spacing, np.multiply(shape, old), new, strict=True):
        assert n * s == pytest.approx(mm)  # nothing is lost at an end
        assert abs(n * want - mm) <= want  # within one voxel of the wish
    volume = stored.sum() * np.prod(placement.spacing)
    assert volume == pytest.approx(labels.sum() * np.prod(old), rel=0.06)
    back = placement.restore(stored)
    assert back.shape == shape
    both = 2 * (back * labels).sum() / (back.sum() + labels.sum())
    coarser = max(n / o for n, o in zip(new, old, strict=True))
    assert both == 1 if coarser <= 1 else both > 0.75


def test_the_centre_of_mass_stays_where_it_is_in_mm() -> None:
    """A blob whose place moves by half a voxel would show here."""
    labels = np.zeros((30, 40, 20), np.int16)
    labels[6:12, 20:32, 4:10] = 1
    old, new = (2.0, 1.0, 3.0), (1.3, 2.1, 1.1)
    image = synthetic(labels[None].astype(np.float32), old)
    array, placement = prepare_case(image, Preprocess(intensity="window", low=0, high=1, spacing=new))
    assert array.max() == pytest.approx(1)

    def centre(weights: Any, spacing: tuple[float, ...]) -> Any:
        spots = np.indices(weights.shape).reshape(3, -1) + 0.5
        return (spots * weights.ravel()).sum(1) / weights.sum() * spacing

    assert np.abs(centre(array[0], placement.spacing) - centre(labels, old)).max() < 0.1
    stored = placement.store(labels)
    assert np.abs(centre(stored, placement.spacing) - centre(labels, old)).max() < max(new) / 2


@pytest.mark.parametrize("factor", [(2, 3, 1), (1, 2, 4), (3, 3, 3)])
def test_a_finer_grid_is_undone_exactly(factor: tuple[int, ...]) -> None:
    labels = RNG.integers(0, 9, (5, 6, 7)).astype(np.int16)
    shape = tuple(n * k for n, k in zip(labels.shape, factor, strict=True))
    placement = Placement.whole(Geometry.of_pixels(labels.shape)).model_copy(update={"shape": shape})
    assert np.array_equal(placement.restore(placement.store(labels)), labels)


def test_crop_and_resampling_together_come_back_to_the_files_grid() -> None:
    volume = np.zeros((1, 20, 30, 16), np.int16)
    volume[0, 4:14, 6:26, 2:14] = 100
    spec = Preprocess(intensity="window", low=0, high=100, crop="foreground", spacing=(1.0, 2.0, 1.0))
    array, placement = prepare_case(synthetic(volume, (2.0, 1.0, 1.0)), spec)
    assert array.shape == (1, 20, 10, 12)
    assert placement.spacing == (1.0, 2.0, 1.0)
    assert np.array_equal(placement.restore((array[0] > 0.5).astype(np.uint8)), volume[0] > 0)
    resized = prepare_case(synthetic(volume), spec.model_copy(update={"spacing": None, "size": (5, 5, 6)}))[1]
    assert (resized.shape, resized.box) == ((5, 5, 6), placement.box)


def test_labels_of_another_image_are_refused() -> None:
    placement = Placement(geometry=Geometry.of_pixels((8, 8)), box=((1, 5), (0, 8)), shape=(4, 4))
    for act, shape in ((placement.restore, (8, 8)), (placement.store, (4, 4))):
        with pytest.raises(DataError, match=r"do not lie on the (stored|canonical) grid"):
            act(np.zeros(shape, np.int16))


def test_ignored_elements_survive_the_way_there_and_back() -> None:
    labels = np.full((6, 6), -1, np.int16)
    labels[:3] = 1
    placement = Placement.whole(Geometry.of_pixels((6, 6))).model_copy(update={"shape": (12, 3)})
    stored = prepare_mask(synthetic(labels[None]), placement)
    assert set(np.unique(stored)) == {-1, 1}
    assert np.array_equal(placement.restore(stored), labels)


@pytest.mark.parametrize("crop", ["none", "foreground"])
def test_med3ds_percentile_gives_mean_0_and_std_1_over_what_is_kept(crop: Any) -> None:
    volume = np.zeros((1, 12, 12, 12), np.float32)
    volume[0, 2:11, 1:9, 3:12] = RNG.gamma(2, 100, (9, 8, 9))
    out = prepare(synthetic(volume, (2.0, 1.0, 1.0)), Preprocess(intensity="percentile", crop=crop))
    assert abs(out.mean()) < 1e-5
    assert out.std() == pytest.approx(1, abs=1e-4)
    kept = out.shape == (1, 9, 8, 9)
    assert kept == (crop == "foreground")
    box = volume[:, 2:11, 1:9, 3:12] if kept else volume
    low, high = np.percentile(box, (0.5, 99.5))
    clipped = np.clip(box, low, high)
    assert np.allclose(out, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": (1.0, 1.0), "size": (4, 4)},
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0,)},
        {"spacing": "mean"},
        {"crop": "body"},
    ],
)
def test_spacings_and_crops_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocess(**wrong)


def test_spacings_that_do_not_fit_the_image_are_refused() -> None:
    volume = np.ones((1, 4, 4, 4), np.float32)
    spec = Preprocess(intensity="standard", spacing=(1.0, 1.0, 1.0))
    with pytest.raises(DataError, match="spacing in mm"):
        prepare_case(synthetic(volume), spec)
    with pytest.raises(ConfigError, match=r"3-D, preprocess\.spacing has 2 axes"):
        prepare_case(synthetic(volume, (1.0, 1.0, 1.0)), spec.model_copy(update={"spacing": (1.0, 1.0)}))
    with pytest.raises(DataError, match="wider"):
        prepare_case(synthetic(volume, (1.0, 1.0, 1.0)), spec.model_copy(update={"spacing": (1e-4, 1e-4, 1e-4)}))
    tiny = prepare_case(synthetic(volume, (1.0, 1.0, 1.0)), spec.model_copy(update={"spacing": (50.0, 2.0, 2.0)}))
    assert tiny[0].shape == (1, 1, 2, 2)
