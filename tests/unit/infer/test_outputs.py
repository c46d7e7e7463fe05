"""Formats that fit, names of files, and what is never overwritten."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import ImageRef
from allograft.infer.inputs import Input
from allograft.infer.outputs import choose_formats, output_files, require_free
from real_series import REAL, write_series

MASKS = Task(kind="segmentation", classes=("background", "lesion"))
YES_NO = Task(kind="binary", classes=("no", "yes"))


def item(path, *names):
    return Input(str(path), (ImageRef(path),))


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "p.png")
    return item(tmp_path / "p.png")


@pytest.fixture
def series(tmp_path):
    return item(write_series(tmp_path / "s", count=2))


def stems(*names):
    return [own["png"].removesuffix("_seg.png") for own in output_files([Input(n, ()) for n in names], ["png"])]


def test_defaults_are_a_table_for_classes_and_the_usual_file_for_masks(picture, series):
    assert choose_formats((), YES_NO, [picture], dims=2) == ("csv",)
    assert choose_formats((), MASKS, [picture], dims=2) == ("png",)
    assert choose_formats((), MASKS, [picture, series], dims=3) == ("nifti",)


def test_each_format_is_taken_once_and_where_it_fits(picture, series, tmp_path):
    assert choose_formats(("nifti", "dicom-seg", "nifti"), MASKS, [series], dims=3) == ("nifti", "dicom-seg")
    shutil.make_archive(str(tmp_path / "z"), "zip", series.refs[0].path)
    zipped, absent = item(tmp_path / "z.zip"), item(tmp_path / "absent.png")
    file = item(REAL / "CT_small.dcm")
    assert choose_formats(("dicom-seg",), MASKS, [zipped, file, absent], dims=3) == ("dicom-seg",)
    assert choose_formats(("dicom-sr", "csv"), YES_NO, [series], dims=3) == ("dicom-sr", "csv")


@pytest.mark.parametrize(
    ("name", "task", "dims", "fits"),
    [
        ("dicom-seg", MASKS, 2, "nifti, png or csv"),
        ("dicom-sr", YES_NO, 2, "Expected csv"),
        ("nifti", YES_NO, 2, "Expected csv or dicom-sr"),
        ("dicom-seg", YES_NO, 2, "Expected csv or dicom-sr"),
        ("dicom-sr", MASKS, 2, "nifti, dicom-seg, png or csv"),
        ("png", MASKS, 3, "Expected nifti or csv"),
        ("nift", MASKS, 2, '"nifti"'),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(picture, name, task, dims, fits):
    with pytest.raises(ConfigError) as caught:
        choose_formats((name,), task, [picture], dims=dims)
    assert fits in str(caught.value)
    assert name in str(caught.value)


def test_files_are_called_as_their_inputs():
    assert stems("a/scan.v2.nii.gz", "b/x.zip", "c/1.2.840.113", "r.npz:test_images[3]") == [
        "scan.v2", "x", "1.2.840.113", "r.npz-test_images-3",
    ]  # fmt: skip


def test_equal_names_get_their_folders_and_only_then_numbers():
    assert stems("P1/ct.nii", "P2/ct.nii", "P3/mr.nii") == ["P1_ct", "P2_ct", "mr"]
    assert stems("x/P1/ct.nii", "y/P1/ct.nii") == ["x_P1_ct", "y_P1_ct"]
    assert stems("a/p.png", "a/p.tif", "a/P.bmp") == ["p", "p-2", "P-3"]
    assert stems("b/p.png", "p.png") == ["b_p", "p"]
    assert all(stem for stem in stems(".", "..", "/"))


def test_hidden_names_are_hashes():
    [own] = output_files([Input("MUSTERMANN/ct.nii", ())], ["nifti"], salt="s")
    assert "MUSTERMANN" not in own["nifti"]
    assert own["nifti"].endswith("_seg.nii.gz")


def test_nothing_is_overwritten_and_force_only_earlier_predictions(tmp_path):
    assert require_free(tmp_path, ["a_seg.nii.gz"], force=False) == ()
    (tmp_path / "a_seg.nii.gz").write_text("the user's own")
    with pytest.raises(ConfigError, match=r"a_seg\.nii\.gz: exists already and is not overwritten"):
        require_free(tmp_path, ["a_seg.nii.gz"], force=False)
    with pytest.raises(ConfigError, match="not even --force"):
        require_free(tmp_path, ["a_seg.nii.gz"], force=True)
    (tmp_path / "about.json").write_text(json.dumps({"outputs": ["a_seg.nii.gz", "gone_seg.nii.gz"]}))
    assert require_free(tmp_path, ["a_seg.nii.gz"], force=True) == ("a_seg.nii.gz",)
    for damaged in ("{", "[]", '{"outputs": 3}'):
        (tmp_path / "about.json").write_text(damaged)
        with pytest.raises(ConfigError, match="not even --force"):
            require_free(tmp_path, ["a_seg.nii.gz"], force=True)
