from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.grid import grid_of
from allograft.data.io.image import read_image
from allograft.data.io.zipped import unpacked_series
from real_series import ORIENTATIONS, REAL, write_series

pytestmark = pytest.mark.filterwarnings("ignore")
ANATOMICAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))


def read(path, **options):
    return read_image(ImageRef(path), **options)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_the_real_volume_in_itk_s_formats_is_the_same_array_in_the_same_place(tmp_path, ending):
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(ANATOMICAL)), str(tmp_path / f"v{ending}"))
    ours, nifti = read(tmp_path / f"v{ending}"), read(ANATOMICAL)
    np.testing.assert_array_equal(ours.array, nifti.array)
    assert ours.geometry.same_grid(nifti.geometry)
    assert ours.stored.shape == nifti.stored.shape


def test_itk_and_this_reader_agree_on_a_turned_series(tmp_path):
    folder = write_series(tmp_path / "ct", turn=ORIENTATIONS["coronal"])
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    SimpleITK.WriteImage(SimpleITK.ReadImage(names), str(tmp_path / "ct.nrrd"))
    ours, itk = read(folder), read(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(ours.array, itk.array)
    assert ours.geometry.same_grid(itk.geometry)


def test_damaged_itk_files_name_themselves(tmp_path):
    path = tmp_path / "v.nrrd"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(ANATOMICAL)), str(path))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"v\.nrrd: cannot be read"):
        read(path)
    (tmp_path / "w.mha").write_bytes(b"\x00garbage" * 99)
    with pytest.raises(DataError, match=r"w\.mha"):
        read(tmp_path / "w.mha")
    (tmp_path / "x.nrrd").write_bytes(ANATOMICAL.read_bytes())
    with pytest.raises(DataError, match="content is a NIfTI"):
        read(tmp_path / "x.nrrd")


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
    return path


def test_a_zip_of_a_real_series_is_its_folder(tmp_path):
    folder = write_series(tmp_path / "ct")
    path = zipped(folder, tmp_path / "scan.zip")
    np.testing.assert_array_equal(read(path).array, read(folder).array)
    assert grid_of(ImageRef(path)).geometry == read(folder).geometry
    first = unpacked_series(path)
    assert unpacked_series(path) == first  # unpacked once
    assert first.is_relative_to(tmp_path / "home")


def test_hostile_and_wrong_zips_are_refused(tmp_path):
    def archive(name, entries):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for entry, data in entries:
                file.writestr(entry, data)
        return tmp_path / name

    slice_ = (REAL / "CT_small.dcm").read_bytes()
    with pytest.raises(DataError, match="outside its folder"):
        read(archive("slip.zip", [("../../evil.dcm", slice_)]))
    assert not (tmp_path / "evil.dcm").exists()
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="is a link"):
        read(archive("link.zip", [(link, "/etc/passwd")]))
    with pytest.raises(DataError, match="no DICOM files"):
        read(archive("none.zip", [("a.txt", "x")]))
    with pytest.raises(DataError, match=r"in 2 folders \(a, b\)"):
        read(archive("two.zip", [("a/1.dcm", slice_), ("b/1.dcm", slice_)]))
    with pytest.raises(DataError, match="at most 1000 are allowed"):
        unpacked_series(archive("big.zip", [("a/1.dcm", slice_)]), limit=1000)
    whole = zipped(write_series(tmp_path / "s"), tmp_path / "cut.zip")
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut\.zip"):
        read(whole)
    assert not list((tmp_path / "home" / "unpacked").glob("*"))  # nothing refused is kept
