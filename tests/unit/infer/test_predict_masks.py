"""Label maps of real images by networks that threshold: the truth is known voxel by voxel, on every grid and format."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
import torch
from PIL import Image
from skimage import data

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from allograft.data.normalise import Normaliser
from allograft.data.preprocess import Preprocess
from allograft.infer.ensemble import Member, Predictor, open_bundles
from allograft.infer.inputs import Input, find_inputs
from allograft.infer.outputs import output_files
from allograft.infer.predict_all import Output, predict_all
from allograft.infer.predict_masks import segment_inputs
from allograft.infer.write_seg import Algorithm
from real_series import ORIENTATIONS, REAL, write_series
from threshold_networks import labels_by_hand, parts, threshold_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
ALGORITHM = Algorithm(name="thresholds", version="0" * 16, software="0")
ANATOMICAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
CT5N = REAL / "dicomdirtests" / "98892001" / "CT5N"
"""Five slices of a real CT series."""


def predictor_of(folder, thresholds, **settings):
    return open_bundles([threshold_bundle(folder / "bundle", thresholds, **settings)], parts)


def predicted(folder, predictor, given, *formats, **fields):
    items = find_inputs([str(path) for path in given], dims=predictor.dims, channels=predictor.first.in_channels)
    out = Output(folder=folder / "out", files=output_files(items, formats), algorithm=ALGORITHM, **fields)
    return predict_all(predictor, items, out)


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAR", "PIL", "AIR"])
def test_nifti_in_any_axis_order_gives_the_thresholded_array_on_its_own_grid(tmp_path, code):
    source = nibabel.load(ANATOMICAL)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(source.affine), nibabel.orientations.axcodes2ornt(code)
    )
    nibabel.save(source.as_reoriented(turn), tmp_path / "in.nii.gz")
    predictor = predictor_of(tmp_path, (3000.5, 5000.5))
    [row] = predicted(tmp_path, predictor, [tmp_path / "in.nii.gz"], "nifti")
    given, out = nibabel.load(tmp_path / "in.nii.gz"), nibabel.load(tmp_path / "out" / "in_seg.nii.gz")
    np.testing.assert_array_equal(out.affine, given.affine)
    assert out.shape == given.shape
    expected = labels_by_hand(np.asarray(given.dataobj), (3000.5, 5000.5))
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(np.asarray(out.dataobj), expected)
    volume = abs(np.linalg.det(given.affine[:3, :3]))
    for value in (1, 2):
        count = int((expected == value).sum())
        assert row[f"voxels_above {value}"] == count
        assert row[f"mm3_above {value}"] == pytest.approx(count * volume, rel=1e-6)
        assert row[f"ml_above {value}"] == pytest.approx(count * volume / 1000, rel=1e-6)
    assert (row["written"], row["error"]) == ("in_seg.nii.gz", "")


@pytest.mark.parametrize("turn", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_dicom_series_gives_its_thresholded_pixels_as_seg_and_nifti(tmp_path, turn):
    folder = write_series(tmp_path / "ct", turn=turn)
    [row] = predicted(tmp_path, predictor_of(tmp_path, (-100.5, 150.5)), [folder], "dicom-seg", "nifti")
    assert row["error"] == ""
    assert row["written"] == "ct_seg.dcm;ct_seg.nii.gz"
    seg = hd.seg.segread(tmp_path / "out" / "ct_seg.dcm")
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    hu = {data.SOPInstanceUID: data.pixel_array * data.RescaleSlope + data.RescaleIntercept for data in files}
    uids = list(hu)
    found = seg.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True,
                                              assert_missing_frames_are_empty=True)  # fmt: skip
    expected = labels_by_hand(np.stack(list(hu.values())), (-100.5, 150.5))
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(found, expected)
    nifti = nibabel.load(tmp_path / "out" / "ct_seg.nii.gz")
    ours = read_image(ImageRef(folder))
    again = read_image(ImageRef(tmp_path / "out" / "ct_seg.nii.gz"))
    assert nifti.shape == (32, 24, 5)  # columns, rows, slices, as other converters write
    np.testing.assert_array_equal(again.array[0], labels_by_hand(ours.array[0], (-100.5, 150.5)))
    assert np.linalg.det(nifti.affine[:3, :3]) == pytest.approx(
        np.prod(ours.geometry.spacing) * np.sign(np.linalg.det(nifti.affine[:3, :3])), rel=1e-5
    )


@pytest.mark.parametrize("all_frames", [False, True])
def test_a_real_series_and_frames_without_a_pixel(tmp_path, all_frames):
    ct = read_image(ImageRef(CT5N))
    high = float(np.sort(np.unique(ct.array))[-2]) + 0.5  # the brightest value only: in few slices
    predictor = predictor_of(tmp_path, (high,))
    [row] = predicted(tmp_path, predictor, [CT5N], "dicom-seg", all_frames=all_frames)
    assert row["error"] == ""
    expected = (ct.array[0] > high).astype(np.uint8)
    assert row["voxels_above 1"] == expected.sum() > 0
    seg = hd.seg.segread(tmp_path / "out" / "CT5N_seg.dcm")
    assert int(seg.NumberOfFrames) == (5 if all_frames else int(expected.any(axis=(1, 2)).sum()))
    from allograft.data.io.dicom_seg import read_seg
    from allograft.data.io.grid import grid_of

    np.testing.assert_array_equal(
        read_seg(tmp_path / "out" / "CT5N_seg.dcm", grid_of(ImageRef(CT5N))).array[0], expected
    )


def test_what_was_resampled_and_cropped_comes_back_to_the_file_s_own_grid(tmp_path):
    source = nibabel.load(ANATOMICAL)
    spacing = tuple(float(x) / 2 for x in reversed(source.header.get_zooms()))
    image = read_image(ImageRef(ANATOMICAL))
    fine = Preprocess(intensity="window", low=-2048, high=6144, spacing=tuple(s / 2 for s in image.geometry.spacing))
    assert len(spacing) == 3
    [one] = segment_inputs(
        predictor_of(tmp_path, (3000.5,), preprocess=fine), [Input(str(ANATOMICAL), (ImageRef(ANATOMICAL),))]
    )
    assert one.prepared.shape[1:] == tuple(2 * n for n in image.geometry.shape)
    assert one.labels.shape == image.geometry.shape
    expected = labels_by_hand(image.array[0], (3000.5,))
    assert (one.labels == expected).mean() > 0.9  # linear between voxels: only edges may move
    assert not one.error


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".tif", ".npy"])
def test_other_volumes(tmp_path, ending):
    array = np.asarray(nibabel.load(ANATOMICAL).dataobj).astype(np.int16)
    path = tmp_path / f"vol{ending}"
    if ending in {".mha", ".nrrd"}:
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing((2.0, 1.5, 3.0))
        SimpleITK.WriteImage(image, str(path))
    elif ending == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        np.save(path, array)
    [row] = predicted(tmp_path, predictor_of(tmp_path, (3000.5,)), [path], "nifti")
    out = nibabel.load(tmp_path / "out" / "vol_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(out.dataobj).T, labels_by_hand(array, (3000.5,)))
    assert row["voxels_above 1"] == (array > 3000).sum()
    known = ending in {".mha", ".nrrd"}
    assert row["mm3_above 1"] == (row["voxels_above 1"] * 9 if known else None)
    if known:
        assert out.header.get_zooms() == (2.0, 1.5, 3.0)


def test_pictures_give_label_pictures_and_pixels(tmp_path):
    grey = data.camera()[:60, :75]
    Image.fromarray(grey).save(tmp_path / "cam.png")
    tifffile.imwrite(tmp_path / "cam.tif", grey)
    predictor = predictor_of(tmp_path, (100.5, 180.5), dims=2)
    rows = predicted(tmp_path, predictor, [tmp_path / "cam.png", tmp_path / "cam.tif"], "png", "nifti")
    expected = labels_by_hand(grey.astype(int), (100.5, 180.5))
    assert [row["written"] for row in rows] == ["cam_seg.png;cam_seg.nii.gz", "cam-2_seg.png;cam-2_seg.nii.gz"]
    for stem in ("cam", "cam-2"):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{stem}_seg.png")), expected)
        nifti = nibabel.load(tmp_path / "out" / f"{stem}_seg.nii.gz")
        np.testing.assert_array_equal(np.asarray(nifti.dataobj)[..., 0].T, expected)
    assert rows[0]["pixels_above 1"] == (expected == 1).sum()
    assert rows[0]["mm2_above 1"] is None


def test_a_single_dicom_slice_by_a_2d_network(tmp_path):
    slice_ = REAL / "CT_small.dcm"
    [row] = predicted(tmp_path, predictor_of(tmp_path, (0.5,), dims=2), [slice_], "dicom-seg", "nifti", "png")
    assert row["error"] == ""
    source = pydicom.dcmread(slice_)
    expected = labels_by_hand(source.pixel_array * source.RescaleSlope + source.RescaleIntercept, (0.5,))
    seg = hd.seg.segread(tmp_path / "out" / "CT_small_seg.dcm")
    np.testing.assert_array_equal(seg.get_volume(combine_segments=True).array[0], expected)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "CT_small_seg.png")), expected)
    assert row["mm2_above 1"] == pytest.approx(expected.sum() * np.prod([float(x) for x in source.PixelSpacing]))
    again = read_image(ImageRef(tmp_path / "out" / "CT_small_seg.nii.gz"), dims=3)
    placed = read_image(ImageRef(slice_), dims=3)
    assert again.geometry.same_grid(placed.geometry)
    np.testing.assert_array_equal(again.array[0], labels_by_hand(placed.array[0], (0.5,)))


def test_a_radiograph_without_a_place_is_refused_as_seg_before_it_is_read(tmp_path):
    picture = REAL / "examples_palette.dcm"
    predictor = predictor_of(tmp_path, (0.5,), dims=2)
    [row] = predicted(tmp_path, predictor, [picture], "dicom-seg")
    assert str(picture) in row["error"]
    assert row["voxels" if "voxels" in row else "pixels_above 1"] is None


def test_broken_series_are_rows_and_the_rest_go_on(tmp_path):
    good = write_series(tmp_path / "good")
    missing, twice, turned, cut = (write_series(tmp_path / name) for name in ("missing", "twice", "turned", "cut"))
    by_place = sorted(missing.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])
    by_place[2].unlink()
    one = pydicom.dcmread(first := sorted(twice.iterdir())[0])
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    one.save_as(twice / "again.dcm")
    first = sorted(turned.iterdir())[1]
    one = pydicom.dcmread(first)
    one.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    one.save_as(first)
    first = sorted(cut.iterdir())[2]
    first.write_bytes(first.read_bytes()[:-700])
    mixed = REAL / "dicomdirtests" / "98892003" / "MR1"
    given = [missing, good, twice, turned, cut, mixed, tmp_path / "absent.nii.gz"]
    rows = predicted(tmp_path, predictor_of(tmp_path, (0.5,)), given, "dicom-seg", "nifti")
    words = ["missing?", "", "at the same place", "orientation", "damaged or cut short", "series", "no such file"]
    for path, row, word in zip(given, rows, words, strict=True):
        assert row["file"] == str(path)
        assert word in row["error"]
        assert (row["error"] == "") == (path == good)
        assert row["error"] == "" or str(path) in row["error"]
        assert (row["voxels_above 1"] is None) == (path != good)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good_seg.dcm", "good_seg.nii.gz"]


def test_channel_files_are_one_image(tmp_path):
    source = nibabel.load(ANATOMICAL)
    values = np.asarray(source.dataobj)
    for number in range(2):
        image = nibabel.Nifti1Image(values if number == 0 else values[::-1].copy(), source.affine)
        nibabel.save(image, tmp_path / f"p1_{number:04d}.nii.gz")
    predictor = predictor_of(tmp_path / "net", (3000.5,), channels=2)
    (tmp_path / "scans").mkdir()
    for path in tmp_path.glob("p1_*"):
        path.rename(tmp_path / "scans" / path.name)
    [row] = predicted(tmp_path, predictor, [tmp_path / "scans"], "nifti")
    assert row["written"] == "p1_seg.nii.gz"
    out = nibabel.load(tmp_path / "out" / "p1_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(out.dataobj), labels_by_hand(values, (3000.5,)))
    [row] = predicted(tmp_path, predictor, [tmp_path / "scans" / "p1_0000.nii.gz"], "nifti")
    assert "1 channels" in row["error"]


def test_every_network_sees_the_image_through_its_own_normalisation(tmp_path):
    first = threshold_bundle(tmp_path / "a", (3000.5, 5000.5), run="a" * 16)
    second = threshold_bundle(tmp_path / "b", (3000.5, 5000.5), scale=7.0, shift=-3.0, run="b" * 16)
    both = open_bundles([first, second], parts)
    item = Input(str(ANATOMICAL), (ImageRef(ANATOMICAL),))
    expected = labels_by_hand(read_image(ImageRef(ANATOMICAL)).array[0], (3000.5, 5000.5))
    [one] = segment_inputs(both, [item])
    np.testing.assert_array_equal(one.labels, expected)
    shared = [Member(m.net, m.bundle.model_copy(update={"normalise": Normaliser()})) for m in both.members]
    [other] = segment_inputs(Predictor(tuple(shared)), [item])
    assert (other.labels != expected).any()  # the judge can say no


def test_the_mean_of_probabilities_decides(tmp_path):
    """Two networks at 3000 and 5000: between them both are as sure, so the mean changes half way."""
    low = threshold_bundle(tmp_path / "a", (3000.5,), run="a" * 16)
    high = threshold_bundle(tmp_path / "b", (5000.5,), run="b" * 16)
    item = Input(str(ANATOMICAL), (ImageRef(ANATOMICAL),))
    array = read_image(ImageRef(ANATOMICAL)).array[0].astype(np.float64)
    logits = [(array - t) / 2 for t in (3000.5, 5000.5)]
    mean = np.mean([1 / (1 + np.exp(-np.clip(z, -60, 60))) for z in logits], axis=0)
    sure = np.abs(mean - 0.5) > 1e-4
    [one] = segment_inputs(open_bundles([low, high], parts), [item])
    np.testing.assert_array_equal(one.labels[sure], (mean > 0.5)[sure])


def test_networks_of_another_task_label_nothing(tmp_path):
    predictor = predictor_of(tmp_path, (3000.5,))
    member = predictor.members[0]
    plain = Predictor((Member(member.net, member.bundle.model_copy(update={"patches": None})),))
    with pytest.raises(DataError, match="label no elements"):
        plain.segment(np.zeros((1, 8, 8, 8), np.float32))
    with pytest.raises(DataError, match="differ in patches"):
        Predictor((member, plain.members[0]))


def test_an_output_that_is_not_finite_is_a_row(tmp_path):
    predictor = predictor_of(tmp_path, (3000.5,))
    with torch.no_grad():
        predictor.members[0].net.heads["label"].conv.bias[0] = float("nan")
    [row] = predicted(tmp_path, predictor, [ANATOMICAL], "nifti")
    assert "not finite" in row["error"]
    assert str(ANATOMICAL) in row["error"]
