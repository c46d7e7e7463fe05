from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.dicom import dicom_files, dicom_group
from allograft.data.io.image import read_image

REAL = Path(pydicom.data.__file__).parent / "test_files"
pytestmark = pytest.mark.filterwarnings("ignore")


def read(path, dims=None, row=None):
    return read_image(ImageRef(Path(path), row=row), dims=dims)


def test_ct_is_in_hounsfield_units():
    image = read(REAL / "CT_small.dcm")
    data = pydicom.dcmread(REAL / "CT_small.dcm")
    np.testing.assert_allclose(image.array[0], data.pixel_array * 1.0 + float(data.RescaleIntercept))
    assert image.units == "HU"
    np.testing.assert_allclose(image.geometry.spacing, [float(x) for x in data.PixelSpacing])


@pytest.mark.parametrize("name", ["MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"])
def test_the_same_picture_in_every_encoding(name):
    np.testing.assert_array_equal(read(REAL / f"{name}.dcm").array, read(REAL / "MR_small.dcm").array)


def test_colour_palette_and_ybr_become_rgb():
    for name in ("examples_rgb_color", "examples_palette", "SC_ybr_full_422_uncompressed", "SC_rgb_rle"):
        image = read(REAL / f"{name}.dcm")
        assert image.channels == ("red", "green", "blue"), name
    ybr, rgb = read(REAL / "SC_ybr_full_422_uncompressed.dcm").array, read(REAL / "SC_rgb_rle.dcm").array
    assert np.abs(ybr.astype(int) - rgb).mean() < 6  # the same test picture, less its halved colours


def test_loops_in_time_need_a_frame():
    path = REAL / "examples_ybr_color.dcm"
    with pytest.raises(DataError, match="30 frames"):
        read(path)
    assert read(path, row=3).array.shape == (3, 240, 320)
    assert read(path, dims=3).array.shape == (3, 30, 240, 320)
    with pytest.raises(DataError, match="frames 0 to 29"):
        read(path, row=30)


def test_dose_grid_is_a_scaled_volume():
    image = read(REAL / "rtdose.dcm")
    data = pydicom.dcmread(REAL / "rtdose.dcm")
    assert image.array.shape == (1, 15, 10, 10)
    np.testing.assert_allclose(np.sort(image.array.ravel()), np.sort(data.pixel_array.ravel() * data.DoseGridScaling))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MR_truncated", "damaged or cut short"),
        ("no_meta", "not a DICOM file"),
        ("reportsi", "without pixels"),
        ("rtplan", "without pixels"),
        ("badVR", "wrong kind"),
    ],
)
def test_unreadable_real_files_name_themselves(name, text):
    with pytest.raises(DataError, match=text) as caught:
        read(REAL / f"{name}.dcm")
    assert name in str(caught.value)


def test_without_a_decoder_the_message_says_which_to_install(monkeypatch):
    def no_decoder(*_, **__):
        raise RuntimeError("no plugin can decode this")

    monkeypatch.setattr("allograft.data.io.dicom.pixel_array", no_decoder)
    with pytest.raises(DataError, match=r"no installed decoder reads that.*allograft\[dicom\]") as caught:
        read(REAL / "SC_rgb_jpeg_gdcm.dcm")
    assert "SC_rgb_jpeg_gdcm" in str(caught.value)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm", "MR_small_jpeg_ls_lossless", "JPGExtended"])
def test_pylibjpeg_decodes_real_compressed_files(name):
    pytest.importorskip("pylibjpeg", reason="the extra allograft[dicom] is not installed")
    assert read(REAL / f"{name}.dcm").array.size > 0


def test_every_second_packaged_file_is_read_or_refused_in_our_words():
    def outcome(path):
        try:
            return "read" if read(path).array.size else "empty"
        except DataError as error:
            return "refused" if path.name in str(error) else str(error)

    outcomes = [outcome(path) for path in sorted(REAL.glob("*.dcm"))[::2]]
    assert set(outcomes) == {"read", "refused"}
    assert outcomes.count("read") > 20


def test_identity_stays_in_the_reader():
    path = REAL / "CT_small.dcm"
    data = pydicom.dcmread(path)
    name, number = str(data.PatientName), str(data.PatientID)
    text = repr(read(path))
    assert name not in text
    assert number not in text
    assert dicom_group(path) == number


def write_slice(path, i, **changes):
    """A synthetic CT slice of 4 x 5 pixels, spacing 2 x 3 mm, step 4 mm."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName, data.Modality = "P7", "Doe^Jane", "CT"
    data.SeriesInstanceUID, data.SeriesNumber = "1.2.3", 4
    data.Rows, data.Columns, data.SamplesPerPixel = 4, 5, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelSpacing, data.ImageOrientationPatient = [2.0, 3.0], [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [-10.0, -20.0, 50.0 + 4 * i]
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = (np.arange(20, dtype=np.uint16) + 100 * i).tobytes()
    for tag, value in changes.items():
        if value is None:
            delattr(data, tag)
        else:
            setattr(data, tag, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


@pytest.fixture
def series(tmp_path):
    for name, i in zip(("c", "a", "d", "b"), range(4), strict=True):  # names are not the order
        write_slice(tmp_path / "s" / name, i)
    (tmp_path / "s" / "README.txt").write_text("no slice")
    return tmp_path / "s"


def test_synthetic_series_lies_where_nibabel_says(series):
    image = read(series)
    assert image.array.shape == (1, 4, 4, 5)
    assert image.geometry.spacing == (4.0, 2.0, 3.0)
    from nibabel.nicom import dicomwrappers

    judge = dicomwrappers.wrapper_from_file(str(series / "c")).affine  # (row, column, slice) to LPS
    to_ras = np.diag([-1, -1, 1, 1])
    for d, r, c in ((0, 0, 0), (0, 3, 1), (3, 2, 4)):
        value = 100 * d + 5 * r + c - 1024
        world = to_ras @ judge @ [r, c, 0, 1]
        world[2] += 4 * d
        index = np.linalg.inv(image.geometry.affine()) @ world
        assert image.array[(0, *np.rint(index[:3]).astype(int))] == value


def test_synthetic_series_and_its_nifti_are_the_same_array(series, tmp_path):
    image = read(series)
    slices = [pydicom.dcmread(series / name) for name in ("c", "a", "d", "b")]
    volume = np.stack([item.pixel_array.T - 1024.0 for item in slices], axis=2)  # (column, row, slice)
    affine = np.diag([-3.0, -2.0, 4.0, 1.0])
    affine[:3, 3] = (10, 20, 50)
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), affine), tmp_path / "x.nii")
    other = read(tmp_path / "x.nii")
    np.testing.assert_array_equal(image.array, other.array)
    assert image.geometry.same_grid(other.geometry)


def test_missing_doubled_and_mixed_slices_are_refused(series):
    write_slice(series / "e", 5)
    with pytest.raises(DataError, match=r"8\.00 mm lie between b and e.*1 slices missing"):
        read(series)
    write_slice(series / "e", 3)
    with pytest.raises(DataError, match=r"b and e lie at the same place"):
        read(series)
    write_slice(series / "e", 4, ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    with pytest.raises(DataError, match=r"orientation"):
        read(series)
    write_slice(series / "e", 4, PixelSpacing=[2.0, 2.0])
    with pytest.raises(DataError, match=r"pixel spacing"):
        read(series)
    write_slice(series / "e", 4, ImagePositionPatient=[5.0, -20.0, 66.0])
    with pytest.raises(DataError, match=r"shifted"):
        read(series)
    write_slice(series / "e", 4, SeriesInstanceUID="9.9", SeriesNumber=8, Modality="MR")
    with pytest.raises(DataError, match=r"series 4 \(CT, 4 files.*series 8 \(MR, 1 files, first e\)"):
        read(series)
    write_slice(series / "e", 4, ImagePositionPatient=None)
    with pytest.raises(DataError, match=r"e says no ImagePositionPatient"):
        read(series)
    (series / "e").unlink()
    assert read(series).dims == 3


def test_a_tilted_gantry_is_refused(tmp_path):
    for i in range(4):
        write_slice(tmp_path / "s" / f"{i}", i, ImagePositionPatient=[0.0, 1.0 * i, 4.0 * i])
    with pytest.raises(DataError, match="tilted"):
        read(tmp_path / "s")


def test_folders_without_images(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no DICOM images"):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="no DICOM files"):
        dicom_group(tmp_path / "empty")
    assert dicom_files(tmp_path / "empty") == []


def test_monochrome1_is_turned_and_its_padding_black(tmp_path):
    pixels = np.array([0, 1, 4000, 4095] * 5, dtype=np.uint16)
    changes = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "Modality": "DX"}
    changes |= {"RescaleSlope": None, "RescaleIntercept": None, "PixelData": pixels.tobytes()}
    write_slice(tmp_path / "x.dcm", 0, **changes)
    assert read(tmp_path / "x.dcm").array.ravel()[:4].tolist() == [4095, 4094, 95, 0]
    write_slice(tmp_path / "x.dcm", 0, **changes, PixelPaddingValue=0)
    assert read(tmp_path / "x.dcm").array.ravel()[:4].tolist() == [0, 4094, 95, 0]


def test_declared_burned_in_text_is_warned_of(tmp_path):
    write_slice(tmp_path / "x.dcm", 0, BurnedInAnnotation="YES")
    assert "burned-in" in read(tmp_path / "x.dcm").warnings[0]


def test_synthetic_enhanced_file_takes_place_and_scale_from_each_frame(tmp_path):
    frames = []
    for i in (2, 0, 1):
        frame, plane, values = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, 5.0 * i]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2.0, float(i), "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [plane], [values]
        frames.append(frame)
    shared, turn, measure = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient, measure.PixelSpacing = [1, 0, 0, 0, 1, 0], [2.0, 3.0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measure]
    pixels = np.repeat(np.array([2, 0, 1], np.uint16) * 10, 20)
    write_slice(
        tmp_path / "x.dcm", 0, NumberOfFrames=3, PixelData=pixels.tobytes(), PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=[shared], RescaleSlope=None, RescaleIntercept=None, PixelSpacing=None,
        ImagePositionPatient=None, ImageOrientationPatient=None,
    )  # fmt: skip
    image = read(tmp_path / "x.dcm")
    assert image.array[0, :, 0, 0].tolist() == [0.0, 21.0, 42.0]
    assert image.geometry.spacing == (5.0, 2.0, 3.0)


def test_header_warnings_do_not_quote_values(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(REAL / "CT_small.dcm")
    assert not caught
