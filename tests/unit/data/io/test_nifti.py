from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from allograft.data.io.orient import to_canonical, to_stored

REAL = Path(nibabel.__file__).parent / "tests" / "data"


def read(path, dims=None):
    return read_image(ImageRef(Path(path)), dims=dims)


@pytest.mark.parametrize("name", ["anatomical.nii", "standard.nii.gz", "reoriented_anat_moved.nii", "example4d.nii.gz"])
def test_real_files_equal_nibabel_canonical(name):
    image = read(REAL / name)
    judge = nibabel.as_closest_canonical(nibabel.load(REAL / name))
    data = np.asanyarray(judge.dataobj)
    data = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[None]
    np.testing.assert_array_equal(image.array, data.transpose(0, 3, 2, 1))
    flip = np.eye(4)[[2, 1, 0, 3]]  # (d, h, w) to (x, y, z)
    np.testing.assert_allclose(image.geometry.affine(), judge.affine @ flip, atol=1e-4)


@pytest.mark.parametrize(("order", "signs"), [*product(permutations(range(3)), product((1, -1), repeat=3))])
def test_every_orientation_gives_the_same_synthetic_array_and_goes_back_exactly(tmp_path, order, signs):
    rng = np.random.default_rng(0)
    world = rng.normal(size=(5, 6, 7))  # (x, y, z), RAS
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = (-10, 20, 30)
    base = nibabel.Nifti1Image(world, affine)
    turn = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
    turned = base.as_reoriented(turn)
    nibabel.save(turned, tmp_path / "x.nii")
    image = read(tmp_path / "x.nii")
    np.testing.assert_allclose(image.array[0], world.transpose(2, 1, 0), rtol=1e-6)
    np.testing.assert_allclose(image.geometry.spacing, (2.0, 1.5, 1.0), rtol=1e-6)
    np.testing.assert_array_equal(to_stored(image.array[0], image.stored), turned.get_fdata().astype(np.float32))
    np.testing.assert_array_equal(np.array(image.stored.affine), nibabel.load(tmp_path / "x.nii").affine)


def test_oblique_volumes_agree_with_nibabel():
    rng = np.random.default_rng(3)
    for _ in range(15):
        angles = rng.uniform(-0.6, 0.6, 3)
        turn = nibabel.eulerangles.euler2mat(*angles)
        affine = np.eye(4)
        affine[:3, :3] = turn[:, rng.permutation(3)] * rng.choice([-1, 1], 3) * rng.uniform(0.5, 3, 3)
        values = rng.normal(size=(3, 4, 5)).astype(np.float32)
        got, geometry, stored = to_canonical(values[None], affine, Path("x"))
        judge = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
        np.testing.assert_array_equal(got[0], judge.get_fdata().transpose(2, 1, 0))
        np.testing.assert_allclose(geometry.affine(), judge.affine @ np.eye(4)[[2, 1, 0, 3]], atol=1e-9)
        np.testing.assert_array_equal(to_stored(got[0], stored), values)


def test_scaled_integers_become_their_values(tmp_path):
    file = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    file.header.set_slope_inter(2.0, -5.0)
    nibabel.save(file, tmp_path / "x.nii.gz")
    image = read(tmp_path / "x.nii.gz")
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array.ravel(), nibabel.load(tmp_path / "x.nii.gz").get_fdata().T.ravel())
    assert image.array.max() == 9


def test_one_slice_is_a_picture_unless_a_volume_is_wanted(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 1), np.float32), np.diag([2.0, 3, 4, 1])), tmp_path / "x.nii")
    flat = read(tmp_path / "x.nii")
    assert flat.array.shape == (1, 5, 4)
    assert flat.geometry.spacing == (3.0, 2.0)
    assert read(tmp_path / "x.nii", dims=3).array.shape == (1, 1, 5, 4)


def test_fourth_axis_is_channels_and_a_time_series_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"functional\.nii.*series of volumes"):
        read(REAL / "functional.nii")
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii")
    np.testing.assert_array_equal(read(tmp_path / "x.nii").array, values.transpose(3, 2, 1, 0))


def test_colour_voxels_are_three_channels(tmp_path):
    rgb = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "x.nii")
    image = read(tmp_path / "x.nii")
    assert image.channels == ("red", "green", "blue")
    assert image.array[:, 0, 0, 0].tolist() == [0, 7, 0]


@pytest.mark.parametrize("keep", [0, 100, 340, 352, 5000])
def test_truncated_files_name_themselves(tmp_path, keep):
    (tmp_path / "a.nii").write_bytes((REAL / "anatomical.nii").read_bytes()[:keep])
    (tmp_path / "b.nii.gz").write_bytes((REAL / "example4d.nii.gz").read_bytes()[:keep])
    for name in ("a.nii", "b.nii.gz"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_files_without_a_volume_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no volume"):
        read(REAL / "row_major.dconn.nii")
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    with pytest.raises(DataError, match=r"x\.nii\.gz"):
        read(tmp_path / "x.nii.gz")


def test_a_sheared_or_singular_affine_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    for name, affine, text in (("s", sheared, "right angles"), ("f", flat, "no inverse")):
        file = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4))
        file.set_sform(affine, code=1)
        nibabel.save(file, tmp_path / f"{name}.nii")
        with pytest.raises(DataError, match=text):
            read(tmp_path / f"{name}.nii")


def test_a_header_that_claims_too_much_is_refused_before_reading(tmp_path):
    data = bytearray((REAL / "anatomical.nii").read_bytes())
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    head = nibabel.load(REAL / "anatomical.nii").header
    if head.endianness == ">":
        data[42:48] = np.array([30000, 30000, 30000], ">i2").tobytes()
    (tmp_path / "x.nii").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"x\.nii.*would decode"):
        read(tmp_path / "x.nii")
