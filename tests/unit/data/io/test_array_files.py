from __future__ import annotations

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io import array as module
from allograft.data.io.array import array_headers, load_array
from allograft.data.io.image import read_image


@pytest.fixture
def volumes(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (6, 9, 8, 7), dtype=np.uint8)
    np.save(tmp_path / "v.npy", values)
    np.savez_compressed(tmp_path / "v.npz", images=values, other=values[:2] + 1)
    return tmp_path, values


def test_rows_of_npy_and_npz(volumes):
    folder, values = volumes
    for ref in (ImageRef(folder / "v.npy", row=4), ImageRef(folder / "v.npz", "images", 4)):
        image = read_image(ref)
        np.testing.assert_array_equal(image.array[0], values[4])
        assert image.dims == 3
    assert isinstance(load_array(folder / "v.npy"), np.memmap)


def test_unpacked_arrays_are_kept_and_a_changed_file_is_read_again(volumes):
    folder, values = volumes
    first = load_array(folder / "v.npz", "images")
    assert load_array(folder / "v.npz", "images") is first
    np.savez_compressed(folder / "v.npz", images=values + 1, other=values)
    np.testing.assert_array_equal(load_array(folder / "v.npz", "images"), values + 1)


def test_large_arrays_are_unpacked_to_disk(volumes, monkeypatch):
    folder, values = volumes
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    module._recent.clear()
    array = load_array(folder / "v.npz", "images")
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, values)
    fortran = np.asfortranarray(values)
    np.savez(folder / "f.npz", images=fortran)
    np.testing.assert_array_equal(load_array(folder / "f.npz", "images"), values)


def test_headers_do_not_unpack(volumes):
    folder, values = volumes
    header = array_headers(folder / "v.npz")["images"]
    assert header.shape == values.shape
    assert header.nbytes == values.nbytes


@pytest.mark.parametrize(
    ("shape", "dims", "expected"),
    [
        ((28, 28), None, (1, 28, 28)),
        ((28, 28, 3), None, (3, 28, 28)),
        ((28, 28, 28), None, (1, 28, 28, 28)),
        ((9, 28, 28, 2), None, (2, 9, 28, 28)),
        ((3, 28, 28), 2, (3, 28, 28)),
        ((3, 28, 28), 3, (1, 3, 28, 28)),
    ],
)
def test_axes(tmp_path, shape, dims, expected):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    assert read_image(ImageRef(tmp_path / "x.npy"), dims=dims).array.shape == expected


def test_an_ambiguous_shape_asks_for_dims(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 28, 28), np.float32))
    with pytest.raises(DataError, match="Set dims"):
        read_image(ImageRef(tmp_path / "x.npy"))


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("executed",))

    np.save(tmp_path / "x.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=np.array([Bomb()], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=r"Python objects"):
            read_image(ImageRef(tmp_path / name, "images" if name == "x.npz" else ""))


def test_bad_references(volumes):
    folder, _ = volumes
    with pytest.raises(DataError, match=r'Did you mean "images"'):
        read_image(ImageRef(folder / "v.npz", "image", 0))
    with pytest.raises(DataError, match="rows 0 to 5"):
        read_image(ImageRef(folder / "v.npy", row=6))
    (folder / "v.npz").write_bytes((folder / "v.npz").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"v\.npz"):
        read_image(ImageRef(folder / "v.npz", "images", 0))
    (folder / "v.npy").write_bytes((folder / "v.npy").read_bytes()[:300])
    with pytest.raises(DataError, match=r"v\.npy"):
        read_image(ImageRef(folder / "v.npy", row=0))
    np.save(folder / "text.npy", np.array(["a", "b"]))
    with pytest.raises(DataError, match="not an image"):
        read_image(ImageRef(folder / "text.npy"))
