"""allograft predict and evaluate with networks that threshold: formats, refusals, exit codes, scores by hand."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from allograft import catalog
from allograft.core.errors import ConfigError
from real_series import REAL, write_series
from threshold_networks import labels_by_hand, parts, threshold_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
ANATOMICAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
AT = (3000.5, 5000.5)


@pytest.fixture(autouse=True)
def known_encoder(monkeypatch):
    others = catalog.parts
    monkeypatch.setattr(catalog, "parts", lambda spec: (parts if spec.encoder == "identity" else others)(spec))


@pytest.fixture
def network(tmp_path):
    return threshold_bundle(tmp_path / "net", AT)


def rows_of(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_a_folder_a_series_and_a_zip(run, network, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_series(scans / "P1" / "ct")
    write_series(scans / "P2" / "ct", base="MR_small", size=(20, 24))
    shutil.make_archive(str(tmp_path / "zipped"), "zip", scans / "P1" / "ct")
    given = ["predict", network, scans, tmp_path / "zipped.zip", "--out", out]
    said = run(*given, "--format", "dicom-seg", "--format", "nifti", "--json")
    stems = ("P1_ct", "P2_ct", "zipped")
    names = sorted(f"{stem}_seg{ending}" for stem in stems for ending in (".dcm", ".nii.gz"))
    assert said["outputs"] == names
    assert (said["images"], said["failed"], said["formats"]) == (3, 0, ["dicom-seg", "nifti"])
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "predictions.csv", "about.json"])
    first, last = (hd.seg.segread(out / f"{stem}_seg.dcm").get_volume(combine_segments=True) for stem in stems[::2])
    np.testing.assert_array_equal(first.array, last.array)
    segments = hd.seg.segread(out / "P1_ct_seg.dcm").SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["above 1", "above 2"]
    assert hd.seg.segread(out / "P1_ct_seg.dcm").ContentDescription.startswith("allograft 0000")


def test_an_unreadable_volume_is_reported_and_the_rest_go_on(run, network, tmp_path):
    cut = tmp_path / "cut.nii"
    cut.write_bytes(ANATOMICAL.read_bytes()[:5000])
    said = run("predict", network, cut, ANATOMICAL, "--out", tmp_path / "out", "--json", code=1)
    assert (said["images"], said["failed"]) == (2, 1)
    bad, good = rows_of(tmp_path / "out")
    assert str(cut) in bad["error"]
    assert (bad["voxels_above 1"], bad["written"], good["error"], good["written"]) == (
        "", "", "", "anatomical_seg.nii.gz",
    )  # fmt: skip
    values = labels_by_hand(np.asarray(nibabel.load(ANATOMICAL).dataobj), AT)
    assert int(good["voxels_above 2"]) == (values == 2).sum()


def test_csv_alone_writes_no_label_maps(run, network, tmp_path):
    run("predict", network, ANATOMICAL, "--out", tmp_path / "out", "--format", "csv")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["about.json", "predictions.csv"]


def test_formats_that_do_not_fit_are_refused_before_any_work(run, network, tmp_path):
    out = tmp_path / "out"
    given = ["predict", network, ANATOMICAL, "--out", out]
    with pytest.raises(ConfigError, match=r"dicom-seg.*anatomical\.nii.*Expected nifti or csv"):
        run(*given, "--format", "dicom-seg")
    with pytest.raises(ConfigError, match="Expected nifti, dicom-seg, png or csv"):
        run(*given, "--format", "dicom-sr")
    with pytest.raises(ConfigError, match="all-frames"):
        run(*given, "--all-frames")
    with pytest.raises(ConfigError, match="patient's identity"):
        run(*given, "--hide-ids", "--format", "dicom-seg")
    assert not out.exists()


def test_what_is_the_users_own_stays_and_predictions_can_be_made_again(run, network, tmp_path):
    scan = shutil.copy(ANATOMICAL, tmp_path / "p.nii")
    (tmp_path / "p_seg.nii.gz").write_text("the user's own mask")
    with pytest.raises(ConfigError, match=r"p_seg\.nii\.gz: exists already"):
        run("predict", network, scan, "--out", tmp_path)
    with pytest.raises(ConfigError, match="not even --force"):
        run("predict", network, scan, "--out", tmp_path, "--force")
    assert (tmp_path / "p_seg.nii.gz").read_text() == "the user's own mask"
    run("predict", network, scan, "--out", tmp_path / "out")
    first = (tmp_path / "out" / "p_seg.nii.gz").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        run("predict", network, scan, "--out", tmp_path / "out")
    run("predict", network, scan, "--out", tmp_path / "out", "--force")
    assert (tmp_path / "out" / "p_seg.nii.gz").read_bytes() == first  # the same values, the same bytes


def test_hidden_names_stand_nowhere(run, network, tmp_path):
    scan = shutil.copy(ANATOMICAL, tmp_path / "MUSTERMANN.nii")
    absent = tmp_path / "MUSTERFRAU.nii"
    run("predict", network, scan, absent, "--out", tmp_path / "out", "--hide-ids", code=1)
    for path in (tmp_path / "out").iterdir():
        assert "MUSTER" not in path.name
        assert b"MUSTER" not in path.read_bytes()
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 1


def masked(folder, shift=0, count=8):
    """Write shifted copies of a real head with the mask of its brightest parts; return the table."""
    source = nibabel.load(ANATOMICAL)
    values = np.asarray(source.dataobj)
    rows = ["image,mask,patient_id,scanner"]
    folder.mkdir()
    for number in range(count):
        image = np.roll(values, number, 0)
        mask = labels_by_hand(np.roll(image, shift, 1), AT)
        for name, array in (("img", image), ("seg", mask)):
            nibabel.save(nibabel.Nifti1Image(array, source.affine), folder / f"{number}-{name}.nii.gz")
        rows.append(f"{number}-img.nii.gz,{number}-seg.nii.gz,p{number},s{number % 2}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def test_a_perfect_network_is_scored_perfect(run, network, tmp_path):
    said = run("evaluate", network, masked(tmp_path / "d", count=6), "--json")
    by_name = {m["metric"]: m for m in said["whole"]["metrics"]}
    assert by_name["dice"]["value"] == by_name["surface_dice"]["value"] == 1
    assert by_name["hd95"]["value"] == by_name["volume_difference"]["value"] == 0
    assert said["operating"] == said["calibration"] == []


def test_scores_misses_and_false_alarms_by_case_and_class(run, network, tmp_path):
    table = masked(tmp_path / "d", shift=1)
    folder = table.parent
    for number, value in ((0, 2), (1, 1)):  # truth 0 lacks class 2: a false alarm
        path = folder / f"{number}-seg.nii.gz"
        mask = nibabel.load(path)
        array = np.asarray(mask.dataobj).copy()
        array[array == value] = 0
        nibabel.save(nibabel.Nifti1Image(array, mask.affine), path)
    path = folder / "2-img.nii.gz"  # image 2 has nothing bright: both classes are missed
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.int16), image.affine), path)
    scores = tmp_path / "scores.csv"
    said = run("evaluate", network, table, "--json", "--scores", scores, "--by", "scanner")
    rows = {(row["case"], row["class"]): row for row in csv.DictReader(scores.open())}
    assert len(rows) == 16
    assert rows["0-img.nii.gz", "above 2"]["outcome"] == "false_alarm"
    assert rows["1-img.nii.gz", "above 1"]["outcome"] == "false_alarm"
    assert {rows["2-img.nii.gz", f"above {k}"]["outcome"] for k in (1, 2)} == {"missed"}
    assert {rows["2-img.nii.gz", f"above {k}"]["dice"] for k in (1, 2)} == {"0.0"}
    for number in range(3, 8):
        predicted = labels_by_hand(np.asarray(nibabel.load(folder / f"{number}-img.nii.gz").dataobj), AT)
        truth = np.asarray(nibabel.load(folder / f"{number}-seg.nii.gz").dataobj)
        for value in (1, 2):
            row = rows[f"{number}-img.nii.gz", f"above {value}"]
            expected = f1_score((truth == value).ravel(), (predicted == value).ravel())
            assert float(row["dice"]) == pytest.approx(expected)
            assert (int(row["truth"]), int(row["predicted"])) == ((truth == value).sum(), (predicted == value).sum())
    first, second = said["by_class"]
    assert (first["present"], first["missed"], first["false_alarms"], first["absent"]) == (7, 1, 1, 0)
    assert (second["present"], second["missed"], second["false_alarms"], second["absent"]) == (7, 1, 1, 0)
    dice = next(m for m in second["metrics"] if m["metric"] == "dice")
    values = [float(row["dice"]) for (_, name), row in rows.items() if name == "above 2"]
    assert dice["value"] == pytest.approx(np.mean(values))
    assert dice["low"] < dice["value"] < dice["high"]
    assert said["whole"]["classes"] == {"above 1": 7, "above 2": 7}
    assert [subset["cases"] for subset in said["subsets"]] == [4, 4]
    assert all(subset["note"].startswith("cannot tell") for subset in said["subsets"])


def test_a_mask_on_another_grid_is_reported_and_the_rest_judged(run, network, tmp_path):
    table = masked(tmp_path / "d", count=7)
    path = table.parent / "3-seg.nii.gz"
    mask = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj)[1:], mask.affine), path)
    said = run("evaluate", network, table, "--json", code=1)
    assert said["whole"]["cases"] == 6
    [text] = said["failed"]
    assert "3-seg.nii.gz" in text
    hidden = run("evaluate", network, table, "--json", "--hide-ids", code=1)
    assert "3-seg" not in str(hidden)
    assert "-img" not in str(hidden["scores"])


def test_options_that_do_nothing_for_a_segmentation_are_refused(run, network, tmp_path):
    table = masked(tmp_path / "d", count=2)
    with pytest.raises(ConfigError, match="--sensitivity: does nothing"):
        run("evaluate", network, table, "--sensitivity", "0.9")


def test_pictures_with_masks_of_0_and_255(run, tmp_path):
    network = threshold_bundle(tmp_path / "net2", (100.5,), dims=2)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(3):
        picture = rng.integers(0, 255, (20, 30 + number)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(((picture > 100) * 255).astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    shutil.move(str(tmp_path / "net2"), tmp_path / "elsewhere")
    said = run("evaluate", tmp_path / "elsewhere", tmp_path, "--json")
    assert said["by_class"][0]["metrics"][0]["value"] == 1
    said = run("evaluate", tmp_path / "elsewhere", tmp_path, "--json", "--mask-value", "0", "--mask-value", "255")
    assert said["whole"]["cases"] == 3
    assert network.name == "net2"


def test_classes_of_dicom_pictures_as_reports(run, study_folder, tmp_path):
    """The tiny study takes 32 x 32 colours; real colour pictures are resized to that by its own settings."""
    dicom = REAL / "examples_rgb_color.dcm"
    said = run("predict", study_folder, dicom, "--out", tmp_path / "o", "--format", "dicom-sr", "--json")
    [row] = said["rows"]
    assert row["written"] == "examples_rgb_color_sr.dcm"
    groups = hd.sr.srread(tmp_path / "o" / row["written"]).content.get_image_measurement_groups()
    for group, name in zip(groups, ("ihc", "retina"), strict=True):
        [measured] = group.get_measurements()
        assert float(measured.value) == pytest.approx(row[f"p_{name}"], rel=1e-6)
    picture = next(study_folder.parent.rglob("*.png"))
    with pytest.raises(ConfigError, match=r"\.png.*Expected csv"):
        run("predict", study_folder, picture, "--out", tmp_path / "o2", "--format", "dicom-sr")
    with pytest.raises(ConfigError, match="--scores: does nothing"):
        run("evaluate", study_folder, study_folder.parent / "pics", "--scores", tmp_path / "x.csv")
    assert json.loads((tmp_path / "o" / "about.json").read_text())["formats"] == ["dicom-sr"]
