from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.dicom_seg import read_seg, segments_of
from allograft.data.io.grid import grid_of
from allograft.data.io.image import read_image
from allograft.data.io.mask import read_mask
from allograft.data.io.nifti_write import save_nifti
from allograft.infer.write_nifti import write_nifti
from allograft.infer.write_seg import Algorithm, write_seg
from real_series import ORIENTATIONS, REAL, synthetic_labels, write_series

pytestmark = pytest.mark.filterwarnings("ignore")
ALGORITHM = Algorithm(name="tiny net", version="1", software="0.1")
CLASSES = ("background", "liver", "kidney_left", "zone 7")


def world_of(mask, affine):
    """Return the world positions of a mask's voxels, sorted."""
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points[np.lexsort(points.round(3).T)]


def written(tmp_path, labels, folder, **options):
    image = read_image(ImageRef(folder))
    path = write_seg(
        tmp_path / "out.dcm", labels, image, source=folder, classes=CLASSES, algorithm=ALGORITHM, **options
    )
    return image, path


@pytest.mark.parametrize("turn", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("omit", [False, True])
def test_seg_on_a_real_ct_series_reads_back_equal_in_highdicom(tmp_path, turn, omit):
    folder = write_series(tmp_path / "ct", turn=turn)
    image = read_image(ImageRef(folder))
    labels = synthetic_labels(image.geometry.shape)
    _, path = written(tmp_path, labels, folder, omit_empty_frames=omit)
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    ours = image.geometry.affine()
    for value in (1, 2):
        np.testing.assert_allclose(world_of(volume.array == value, affine), world_of(labels == value, ours), atol=1e-3)
    again = read_seg(path, grid_of(ImageRef(folder)))
    np.testing.assert_array_equal(again.array[0], labels)
    assert again.geometry.same_grid(image.geometry)


def test_every_segment_is_described_and_coded(tmp_path):
    folder = write_series(tmp_path / "ct")
    labels = synthetic_labels(read_image(ImageRef(folder)).geometry.shape)  # "zone 7" does not occur
    _, path = written(tmp_path, labels, folder)
    found = segments_of(path)
    assert [item.label for item in found] == list(CLASSES[1:])
    assert [item.type[1] for item in found] == ["SCT", "SCT", "99ALLOGRAFT"]
    assert found[0].type == ("10200004", "SCT", "Liver")
    side = pydicom.dcmread(path).SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    assert side.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert {item.algorithm for item in found} == {"AUTOMATIC"}


def test_all_frames_are_kept_unless_asked(tmp_path):
    folder = write_series(tmp_path / "ct")
    labels = np.zeros(read_image(ImageRef(folder)).geometry.shape, np.int16)
    labels[2, 3:6, 4:9] = 1
    _, path = written(tmp_path, labels, folder)
    assert int(pydicom.dcmread(path).NumberOfFrames) == 5 * 3
    _, path = written(tmp_path, labels, folder, omit_empty_frames=True)
    assert int(pydicom.dcmread(path).NumberOfFrames) == 1
    np.testing.assert_array_equal(read_seg(path, grid_of(ImageRef(folder))).array[0], labels)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("base", ["CT_small", "MR_small"])
def test_dciodvfy_finds_no_error(tmp_path, base):
    folder = write_series(tmp_path / "s", base=base, size=(24, 20))
    labels = synthetic_labels(read_image(ImageRef(folder)).geometry.shape)
    _, path = written(tmp_path, labels, folder)
    assert errors_of(path) == []
    data = pydicom.dcmread(path)
    del data.SegmentSequence[0].SegmentLabel
    data.save_as(tmp_path / "broken.dcm")
    assert errors_of(tmp_path / "broken.dcm")  # the judge can say no


def errors_of(path):
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]


def test_seg_refuses_what_does_not_fit(tmp_path):
    folder, other = write_series(tmp_path / "a"), write_series(tmp_path / "b", count=4)
    image = read_image(ImageRef(folder))
    labels = synthetic_labels(image.geometry.shape)
    with pytest.raises(DataError, match="own series"):
        write_seg(tmp_path / "o.dcm", labels, image, source=other, classes=CLASSES, algorithm=ALGORITHM)
    with pytest.raises(DataError, match="do not fit"):
        write_seg(tmp_path / "o.dcm", labels + 9, image, source=folder, classes=CLASSES, algorithm=ALGORITHM)
    with pytest.raises(DataError, match="does not lie on the input's grid"):
        write_seg(tmp_path / "o.dcm", labels[1:], image, source=folder, classes=CLASSES, algorithm=ALGORITHM)
    assert not (tmp_path / "o.dcm").exists()


def test_a_seg_of_another_series_is_refused(tmp_path):
    folder, moved = write_series(tmp_path / "a"), write_series(tmp_path / "b", origin=(-20.0, 30.2, -100.0))
    labels = synthetic_labels(read_image(ImageRef(folder)).geometry.shape)
    _, path = written(tmp_path, labels, folder)
    with pytest.raises(DataError, match=r"out\.dcm.*does not lie on the grid") as caught:
        read_mask(ImageRef(path), onto=ImageRef(moved))
    assert str(moved) in str(caught.value)
    with pytest.raises(DataError, match="outside the series' grid"):
        read_mask(ImageRef(path), onto=ImageRef(write_series(tmp_path / "c", count=2)))


def test_segments_are_chosen_by_name_and_absent_ones_are_named(tmp_path):
    folder = write_series(tmp_path / "ct")
    labels = synthetic_labels(read_image(ImageRef(folder)).geometry.shape)
    _, path = written(tmp_path, labels, folder)
    ref = ImageRef(path, classes=(("background", 0), ("Kidney_Left", 1), ("spleen", 2)))
    mask = read_mask(ref, onto=ImageRef(folder))
    np.testing.assert_array_equal(mask.array[0], labels == 2)
    assert mask.warnings == ("out.dcm: has no segment 'spleen'",)
    with pytest.raises(DataError, match="Known: kidney_left, liver, zone 7"):
        read_mask(ref._replace(classes=(("livre", 1),)), onto=ImageRef(folder))


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_other_kinds_of_seg_by_highdicom(tmp_path, kind):
    folder = write_series(tmp_path / "ct")
    image = read_image(ImageRef(folder))
    labels = synthetic_labels(image.geometry.shape, classes=2)
    sources = [pydicom.dcmread(p) for p in sorted(folder.iterdir(), key=lambda p: pydicom.dcmread(p).InstanceNumber)]
    code = hd.sr.CodedConcept("10200004", "SCT", "Liver")
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=labels.astype(np.float32) * 0.8 if kind == "FRACTIONAL" else labels.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=[hd.seg.SegmentDescription(1, "liver", code, code, "MANUAL")],
        series_instance_uid=hd.UID(), series_number=2, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="x", manufacturer_model_name="x", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    seg.save_as(tmp_path / "k.dcm")
    grid = grid_of(ImageRef(folder))
    stored_labels = grid.image(labels).array[0]  # the series lies axial: planes by position
    if kind == "FRACTIONAL":
        with pytest.raises(DataError, match="Set a threshold"):
            read_seg(tmp_path / "k.dcm", grid)
        np.testing.assert_array_equal(read_seg(tmp_path / "k.dcm", grid, threshold=0.5).array[0], stored_labels)
        assert not read_seg(tmp_path / "k.dcm", grid, threshold=0.9).array.any()
    else:
        np.testing.assert_array_equal(read_seg(tmp_path / "k.dcm", grid).array[0], stored_labels)


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAR", "PIL", "AIR"])
def test_nifti_lies_on_the_input_file_s_own_grid(tmp_path, code):
    ornt = nibabel.orientations.axcodes2ornt(code)
    path = _anatomical()
    source = nibabel.load(path)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(source.affine), ornt)
    turned = source.as_reoriented(turn)
    nibabel.save(turned, tmp_path / "in.nii.gz")
    image = read_image(ImageRef(tmp_path / "in.nii.gz"))
    labels = (image.array[0] > np.percentile(image.array, 80)).astype(np.int16)
    write_nifti(tmp_path / "out.nii.gz", labels, image)
    given, out = nibabel.load(tmp_path / "in.nii.gz"), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(out.affine, given.affine)
    assert out.shape == given.shape
    assert out.get_data_dtype() == np.uint8
    values = np.asarray(given.dataobj)
    np.testing.assert_array_equal(np.asarray(out.dataobj), values > np.percentile(image.array, 80))
    np.testing.assert_array_equal(read_image(ImageRef(tmp_path / "out.nii.gz")).array[0], labels)


def _anatomical():
    return Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


def test_nifti_of_a_dicom_series_lies_in_the_same_place(tmp_path):
    folder = write_series(tmp_path / "ct", turn=ORIENTATIONS["oblique"])
    image = read_image(ImageRef(folder))
    labels = synthetic_labels(image.geometry.shape)
    for reverse in (False, True):
        out = nibabel.load(write_nifti(tmp_path / "o.nii", labels, image, reverse_axes=reverse))
        assert out.shape == ((32, 24, 5) if reverse else (5, 24, 32))
        np.testing.assert_allclose(
            world_of(np.asarray(out.dataobj) == 2, out.affine),
            world_of(labels == 2, image.geometry.affine()),
            atol=1e-3,
        )
        again = read_mask(ImageRef(tmp_path / "o.nii"), onto=ImageRef(folder))
        np.testing.assert_array_equal(again.array[0], labels)


def test_a_picture_s_mask_and_a_single_slice(tmp_path):
    values = np.arange(12, dtype=np.int16).reshape(4, 3, 1)
    save_nifti(tmp_path / "flat.nii.gz", values, np.diag([2.0, 3.0, 4.0, 1.0]))
    image = read_image(ImageRef(tmp_path / "flat.nii.gz"))
    assert image.dims == 2
    out = nibabel.load(write_nifti(tmp_path / "out.nii.gz", image.array[0], image))
    np.testing.assert_array_equal(np.asarray(out.dataobj), values)
    picture = read_image(ImageRef(REAL / "CT_small.dcm"))
    out = nibabel.load(write_nifti(tmp_path / "p.nii", (picture.array[0] > 0).astype(np.uint8), picture))
    np.testing.assert_array_equal(np.asarray(out.dataobj)[..., 0].T, picture.array[0] > 0)


def test_nifti_refuses_other_names_and_values(tmp_path):
    image = read_image(ImageRef(_anatomical()))
    labels = np.zeros(image.geometry.shape, np.int64)
    with pytest.raises(DataError, match=r"end in \.nii"):
        write_nifti(tmp_path / "x.mha", labels, image)
    with pytest.raises(DataError, match="expected 0 to 32767"):
        write_nifti(tmp_path / "x.nii", labels + 40000, image)
