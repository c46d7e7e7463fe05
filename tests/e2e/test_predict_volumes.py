"""A study's networks on new volumes: DICOM SEG, NIfTI, broken inputs, and external validation against masks."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.metrics import f1_score
from synthetic_masks import synthetic_volumes_with_masks
from test_segmentation_study import study_file
from tiny_study import private_home, run, run_json

from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from real_series import REAL, write_series

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CT5N = REAL / "dicomdirtests" / "98892001" / "CT5N"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished 3-D study on synthetic volumes."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        private_home(folder, patch)
        cases = synthetic_volumes_with_masks(folder / "cases")
        net = {"encoder": "resnet10_small", "decoder": "unet", "dims": 3, "width": 0.0625}
        more = {
            "common": {"net": net, "budget": {"steps": 30, "batch": 2, "evals": 1}, "optim": {"lr": 0.02}},
            "patches": {"size": [8, 16, 16], "overlap": 0.25, "foreground": 1.0},
        }
        file = study_file(folder / "study.yaml", 3, cases, [{"name": "scratch"}], **more)
        run("study", file, "--out", folder / "out", "--workers", 1)
    return folder / "out"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Real series in folders: two whole, one with a slice missing, and a volume that is cut short."""
    folder = tmp_path / "scans"
    shutil.copytree(CT5N, folder / "real")
    write_series(folder / "oblique", turn=(0.96, 0.28, 0.0, -0.28, 0.96, 0.0))
    missing = write_series(folder / "missing")
    sorted(missing.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])[1].unlink()
    return folder


def test_a_series_becomes_dicom_seg_and_nifti_of_equal_voxels(study: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run_json("predict", study, scans, "--out", out, "--format", "dicom-seg", "--format", "nifti", code=1)
    assert (said["images"], said["failed"], len(said["runs"])) == (3, 1, 3)
    by_name = {Path(row["file"]).name: row for row in said["rows"]}
    assert "missing?" in by_name["missing"]["error"]
    for name in ("real", "oblique"):
        assert by_name[name]["error"] == ""
        nifti = read_image(ImageRef(out / f"{name}_seg.nii.gz"), dims=3)
        source = read_image(ImageRef(scans / name), dims=3)
        assert nifti.geometry.same_grid(source.geometry)
        counts = [by_name[name]["voxels_bright"], by_name[name]["voxels_dark"]]
        assert counts == [int((nifti.array == value).sum()) for value in (1, 2)]
        assert sum(counts) > 0, "the little-trained networks are expected to label something"
        seg = hd.seg.segread(out / f"{name}_seg.dcm")
        assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["bright", "dark"]
        by_place = {
            tuple(np.round(np.asarray(pydicom.dcmread(p).ImagePositionPatient, float), 3)): pydicom.dcmread(p)
            for p in (scans / name).iterdir()
        }
        uids = [data.SOPInstanceUID for data in by_place.values()]
        labels = seg.get_pixels_by_source_instance(
            uids, combine_segments=True, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
        depth = [data.ImagePositionPatient for data in by_place.values()]
        turn = [float(x) for x in next(iter(by_place.values())).ImageOrientationPatient]
        order = np.argsort(np.asarray(depth, float) @ np.cross(turn[:3], turn[3:]))
        stored = np.asarray(nibabel.load(out / f"{name}_seg.nii.gz").dataobj).transpose(2, 1, 0)
        np.testing.assert_array_equal(labels[order], stored)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("option", [[], ["--all-frames"]], ids=["frames-with-pixels", "all-frames"])
def test_dciodvfy_finds_no_error_in_a_study_s_segmentation(study: Path, tmp_path: Path, option: list[str]) -> None:
    series = write_series(tmp_path / "ct")
    run_json("predict", study, series, "--out", tmp_path / "out", "--format", "dicom-seg", *option)
    path = tmp_path / "out" / "ct_seg.dcm"
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
    if option:
        assert int(pydicom.dcmread(path).NumberOfFrames) == 2 * 5


def test_evaluate_scores_what_predict_writes(study: Path, tmp_path: Path) -> None:
    table = synthetic_volumes_with_masks(tmp_path / "far", patients=7, seed=9, prefix="Far")
    out, scores = tmp_path / "out", tmp_path / "scores.csv"
    run_json("predict", study, table, "--out", out)
    said = run_json("evaluate", study, table, "--scores", scores, "--by", "scanner")
    rows = list(csv.DictReader(scores.open()))
    assert len(rows) == 7 * 2
    dice = {"bright": [], "dark": []}
    for row in rows:
        name = row["case"].removesuffix(".nii.gz")
        written = nibabel.load(out / f"{name}_seg.nii.gz")
        mask = nibabel.load(table.parent / f"{name.replace('img', 'seg')}.nii.gz")
        np.testing.assert_array_equal(written.affine, mask.affine)
        value = ["bright", "dark"].index(row["class"]) + 1
        true, found = (np.asarray(image.dataobj).ravel() == value for image in (mask, written))
        assert float(row["dice"]) == pytest.approx(f1_score(true, found, zero_division=0))
        assert row["outcome"] == ("both" if found.any() else "missed")
        dice[row["class"]].append(float(row["dice"]))
    for one in said["by_class"]:
        measured = next(metric for metric in one["metrics"] if metric["metric"] == "dice")
        assert measured["value"] == pytest.approx(np.mean(dice[one["name"]]))
        assert measured["low"] is not None
    assert {metric["metric"] for metric in said["whole"]["metrics"]} >= {"dice", "iou", "hd95", "assd", "surface_dice"}
    assert said["duplicates"] == []
    assert len(pd.read_csv(out / "predictions.csv")) == 7


def test_the_study_s_own_volumes_are_known_under_other_names(study: Path, tmp_path: Path) -> None:
    cases = study.parent / "cases"
    table = synthetic_volumes_with_masks(tmp_path / "far", patients=2, seed=9, prefix="Far")
    for kind in ("img", "seg"):
        shutil.copy(cases / f"Mustermann0-{kind}.nii.gz", tmp_path / "far" / f"copy-{kind}.nii.gz")
    with table.open("a") as file:
        file.write("copy-img.nii.gz,copy-seg.nii.gz,copy,scanner0\n")
    said = run_json("evaluate", study, table)
    assert said["duplicates"] == ["copy-img.nii.gz"]
    assert any("not external" in text for text in said["warnings"])
