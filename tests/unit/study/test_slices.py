"""Slices that runs keep for the report: which one, how it lies, what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.core.geometry import Geometry
from allograft.data.placement import Placement
from allograft.study.slices import LARGEST, cut_slice, read_slice, write_slice


def placement(shape: tuple[int, ...], spacing: tuple[float, ...] = (), *, unit: str = "mm") -> Placement:
    geometry = Geometry.of_pixels(shape)
    changed = geometry.model_copy(update={"spacing": spacing or geometry.spacing, "unit": unit})
    return Placement.whole(changed)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """An image whose value is its index, and a truth that is largest in slice 2."""
    image = np.arange(5 * 4 * 6, dtype=np.float32).reshape(1, 5, 4, 6)
    truth = np.zeros((5, 4, 6), np.int16)
    truth[1, 0, 0] = truth[2, :2, :3] = 1
    return image, truth


def test_the_slice_with_most_of_the_truth_lies_as_a_reader_expects() -> None:
    image, truth = scene()
    labels = np.zeros_like(truth)
    labels[4] = 1  # a false alarm larger than the truth moves nothing
    found = cut_slice(labels, truth, placement(truth.shape, (3.0, 1.0, 0.5)), lambda box: image[(slice(None), *box)])
    assert (found.place, found.of) == (3, 5)
    assert found.spacing == (1.0, 0.5)
    assert found.truth[-2:, -3:].all(), "front is up, the patient's right is on the left: both axes are turned"
    assert found.truth.sum() == 6
    assert not found.labels.any()
    flat = np.argsort(found.image, axis=None, kind="stable")
    assert flat[-1] == 0, "the largest value of the slice is its last element, which is shown first"
    assert found.image.max() == 255
    assert found.image.min() == 0


def test_without_a_patient_nothing_is_turned() -> None:
    image, truth = scene()
    found = cut_slice(truth, truth, placement(truth.shape, unit="pixel"), lambda box: image[(slice(None), *box)])
    assert found.truth[:2, :3].all()


@pytest.mark.parametrize(("truth", "labels", "place"), [(None, 4, 5), (None, None, 3)])
def test_where_nothing_is_true_the_prediction_or_the_middle_is_shown(
    truth: None, labels: int | None, place: int
) -> None:
    image, empty = scene()
    predicted = np.zeros_like(empty)
    if labels is not None:
        predicted[labels, 1, 1] = 2
    found = cut_slice(predicted, truth, placement(empty.shape), lambda box: image[(slice(None), *box)])
    assert found.place == place
    assert (found.truth == -1).all(), "no mask: nothing is judged"


def test_what_was_cropped_away_is_black_and_only_one_slice_is_read() -> None:
    _, truth = scene()
    geometry = Geometry.of_pixels((5, 4, 6))
    stored = np.random.default_rng(0).normal(size=(1, 2, 4, 3)).astype(np.float32)
    where = Placement(geometry=geometry, box=((1, 3), (0, 4), (2, 5)), shape=(2, 4, 3))
    asked = []

    def read(box: tuple[slice, ...]) -> np.ndarray:
        asked.append(box)
        return stored[(slice(None), *box)]

    found = cut_slice(truth, truth, where, read)
    assert asked == [(slice(1, 2),)]
    assert not found.image[:, :2].any()
    assert not found.image[:, 5:].any()
    assert found.image[:, 2:5].max() == 255
    outside = truth.copy()
    outside[4] = 1
    assert not cut_slice(outside, outside, where, read).image.any()


def test_pictures_are_greyed_and_large_ones_shrunk() -> None:
    truth = np.zeros((1000, 500), np.int16)
    truth[:500] = 3
    image = np.stack([np.zeros((1000, 500)), np.tile(np.arange(500.0), (1000, 1)), np.zeros((1000, 500))])
    found = cut_slice(truth, truth, placement(truth.shape), lambda box: image)
    assert found.image.shape == (LARGEST, LARGEST // 2)
    assert (found.place, found.of) == (1, 1)
    assert found.spacing[0] * LARGEST == pytest.approx(1000)
    assert (np.diff(found.image[0].astype(int)) >= 0).all()
    assert set(np.unique(found.truth)) == {0, 3}
    flat = cut_slice(truth, truth, placement(truth.shape), lambda box: np.zeros_like(image))
    assert not flat.image.any(), "an image of one value is black, not an error"


def test_round_trip_and_damage(tmp_path: Path) -> None:
    image, truth = scene()
    found = cut_slice(truth, truth, placement(truth.shape), lambda box: image[(slice(None), *box)])
    file = tmp_path / "a" / "b.npz"
    write_slice(file, found)
    again = read_slice(file)
    assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"b\.npz"):
        read_slice(file)
    with pytest.raises(DataError, match="older version"):
        read_slice(tmp_path / "none.npz")
