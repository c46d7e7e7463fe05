"""find_inputs(): which images lie behind what a user names. Arrays are synthetic."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom.data
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.infer.inputs import find_inputs


def names(*given, dims=2, **more):
    return [item.name for item in find_inputs([str(g) for g in given], dims=dims, **more)]


@pytest.mark.parametrize(
    ("shape", "dims", "count"),
    [
        ((5, 28, 28), 2, 5),
        ((5, 28, 28, 3), 2, 5),
        ((28, 28, 3), 2, 1),
        ((1, 28, 28), 2, 1),
        ((28, 28), 2, 1),
        ((5, 28, 28, 28), 3, 5),
        ((5, 28, 28, 28, 1), 3, 5),
        ((28, 28, 28), 3, 1),
        ((28, 28, 28, 1), 3, 1),
    ],
)
def test_synthetic_arrays_are_one_image_or_a_row_each(tmp_path, shape, dims, count):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    found = names(tmp_path / "a.npy", dims=dims)
    assert len(found) == count
    assert found[-1] == (f"{tmp_path / 'a.npy'}[{count - 1}]" if count > 1 else str(tmp_path / "a.npy"))


def test_of_a_synthetic_archive_the_labels_are_no_images(tmp_path):
    np.savez(tmp_path / "m.npz", val_images=np.zeros((6, 8, 8), np.uint8), val_labels=np.zeros((6, 8, 8)))
    assert names(tmp_path / "m.npz") == [f"{tmp_path / 'm.npz'}:val_images[{k}]" for k in range(6)]


def test_a_folder_with_a_real_dicom_series_is_one_image(tmp_path):
    source = pydicom.data.get_testdata_file("CT_small.dcm")
    for k in range(3):
        shutil.copy(source, tmp_path / f"{k}.dcm")
    assert names(tmp_path, dims=3) == [str(tmp_path)]
    (tmp_path / "text.png").write_bytes(b"")
    assert len(names(tmp_path)) == 4


def test_a_missing_file_is_kept_and_an_empty_folder_refused(tmp_path):
    assert names(tmp_path / "absent.png") == [str(tmp_path / "absent.png")]
    with pytest.raises(DataError, match="no images in this folder"):
        names(tmp_path)


def test_a_table_without_labels_is_enough_and_needs_a_column_of_images(tmp_path):
    (tmp_path / "t.csv").write_text("image,age\nx/1.png,3\nx/2.png,4\n")
    found = find_inputs([str(tmp_path / "t.csv")], dims=2)
    assert [item.name for item in found] == ["x/1.png", "x/2.png"]
    assert found[0].refs[0].path == tmp_path / "x/1.png"
    (tmp_path / "t.csv").write_text("age\n3\n")
    with pytest.raises(ConfigError, match="no column for the image"):
        names(tmp_path / "t.csv")
