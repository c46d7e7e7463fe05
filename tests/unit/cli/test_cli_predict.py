"""allograft predict on real pictures: the winner's ensemble, one run, every kind of input, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import expit

from allograft.catalog import parts
from allograft.core.errors import ConfigError, DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from allograft.data.preprocess import prepare
from allograft.infer.bundle import load_bundle
from allograft.infer.ensemble import Predictor
from allograft.study.winner import choose, open_predictor
from picture_study import write_patches


@pytest.fixture(scope="module")
def new_images(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("new"), count=3, first=40)


def rows_of(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def by_hand(bundles, path):
    """Average sigmoid(logit / T) over networks built and filled here, without the predictor."""
    out = []
    for folder in bundles:
        net, bundle = load_bundle(folder, parts)
        net.load_state_dict(load_file(folder / "model.safetensors"))
        x = torch.from_numpy(prepare(read_image(ImageRef(Path(path))), bundle.preprocess))[None]
        with torch.no_grad():
            out.append(expit(float(net.eval()(bundle.normalise(x)).logits["label"][0, 0]) / bundle.temperature))
    return float(np.mean(out))


def test_the_winner_is_the_mean_of_all_its_runs_at_their_temperatures(run, study_folder, new_images, tmp_path):
    said = run("predict", study_folder, new_images, "--out", tmp_path, "--json")
    chosen = choose(study_folder)
    assert len(said["runs"]) == 3
    assert len(set(said["runs"])) == 3
    assert "no run is chosen by its test result" in said["networks"]
    rows = rows_of(tmp_path)
    assert [row["file"] for row in rows] == sorted(str(p) for p in new_images.rglob("*.png"))
    for row in rows:
        p = by_hand(chosen.bundles, row["file"])
        assert float(row["p_retina"]) == pytest.approx(p, abs=1e-5)
        assert float(row["p_ihc"]) == pytest.approx(1 - p, abs=1e-5)
        assert row["predicted"] == ("retina" if p > 0.5 else "ihc")
        assert float(row["entropy"]) == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)), abs=1e-4)
        assert (row["networks"], row["error"]) == ("3", "")
    assert json.loads((tmp_path / "about.json").read_text())["recipe"] == chosen.recipe


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_run_is_one_network(run, study_folder, new_images, tmp_path, inside):
    folder = next(p for p in sorted((study_folder / "runs").iterdir()) if p.is_dir())
    image = next(new_images.rglob("*.png"))
    said = run("predict", folder / inside, image, "--out", tmp_path, "--json")
    assert said["runs"] == [folder.name]
    assert float(rows_of(tmp_path)[0]["p_retina"]) == pytest.approx(by_hand([folder / "model"], image), abs=1e-5)


def test_tables_archives_and_files_give_the_same_numbers(run, study_folder, new_images, tmp_path):
    files = sorted(new_images.rglob("*.png"))
    (tmp_path / "table.csv").write_text("image\n" + "\n".join(str(f) for f in files) + "\n")
    np.savez(tmp_path / "rows.npz", test_images=np.stack([np.asarray(Image.open(f)) for f in files]), test_labels=[0])
    rows = run("predict", study_folder, tmp_path / "table.csv", tmp_path / "rows.npz", "--out", tmp_path, "--json")[
        "rows"
    ]
    first, second = rows[: len(files)], rows[len(files) :]
    assert [row["file"] for row in first] == [str(f) for f in files]
    assert second[1]["file"] == f"{tmp_path / 'rows.npz'}:test_images[1]"
    for a, b in zip(first, second, strict=True):
        assert a["p_retina"] == pytest.approx(b["p_retina"], abs=1e-5)


def test_an_unusable_image_is_a_row_and_the_rest_go_on(run, study_folder, new_images, tmp_path):
    good = sorted(new_images.rglob("*.png"))[0]
    cut, grey, volume = tmp_path / "cut.png", tmp_path / "grey.png", tmp_path / "volume.npy"
    cut.write_bytes(good.read_bytes()[:200])
    Image.fromarray(np.asarray(Image.open(good))[..., 0]).save(grey)
    np.save(volume, np.zeros((8, 9, 10), np.uint8))
    dicom = pydicom.data.get_testdata_file("CT_small.dcm")
    given = [cut, good, grey, tmp_path / "absent.png", dicom]
    said = run("predict", study_folder, *given, "--out", tmp_path / "out", "--json", code=1)
    rows = rows_of(tmp_path / "out")
    assert said["failed"] == 4
    assert [row["file"] for row in rows] == [str(path) for path in given]
    assert rows[1]["error"] == ""
    assert rows[1]["p_retina"] != ""
    for k, word in ((0, "damaged"), (2, "1 channels"), (3, "no such file")):
        assert rows[k]["p_retina"] == ""
        assert word in rows[k]["error"]
        assert str(given[k]) in rows[k]["error"]
    assert rows[4]["error"]


def test_names_can_be_hidden(run, study_folder, new_images, tmp_path):
    absent = tmp_path / "PATIENT-7.png"
    run("predict", study_folder, new_images, absent, "--out", tmp_path / "o", "--hide-ids", code=1)
    text = (tmp_path / "o" / "predictions.csv").read_text()
    assert "PATIENT-7" not in text
    assert str(new_images) not in text
    assert len({row["file"] for row in rows_of(tmp_path / "o")}) == 7


def test_existing_predictions_are_kept_unless_forced(run, study_folder, new_images, tmp_path):
    (tmp_path / "predictions.csv").write_text("precious")
    with pytest.raises(ConfigError, match=r"predictions\.csv: exists already"):
        run("predict", study_folder, new_images, "--out", tmp_path)
    assert (tmp_path / "predictions.csv").read_text() == "precious"
    run("predict", study_folder, new_images, "--out", tmp_path, "--force")
    assert len(rows_of(tmp_path)) == 6


def test_a_folder_without_networks_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="Expected a study's folder"):
        choose(tmp_path)
    with pytest.raises(DataError, match="at least one network"):
        Predictor(())


def test_networks_of_different_data_are_not_averaged(study_folder):
    predictor = open_predictor(study_folder)
    one = predictor.members[0]
    other = type(one)(one.net, one.bundle.model_copy(update={"size": (64, 64)}))
    with pytest.raises(DataError, match="differ in size"):
        Predictor((one, other))
