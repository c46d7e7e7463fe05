"""allograft export from finished studies; MONAI runs the bundle where neither allograft nor a socket can be had."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny_study as tiny
from synthetic_masks import synthetic_volumes_with_masks

from allograft.catalog import parts
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.infer.ensemble import open_bundles
from allograft.study.summarise import summarise
from random_bundles import CLASSES, random_bundle

BARRED = """
import socket, sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "allograft":
            raise ImportError(f"barred: {name}")

def offline(*args, **kwargs):
    raise OSError("barred: the network")

sys.meta_path.insert(0, Barred())
socket.socket.connect = socket.create_connection = socket.getaddrinfo = offline
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(folder, patch)
        yield folder


@pytest.fixture(scope="module")
def pictures(home: Path) -> Path:
    """A finished study of real pictures: weights of a card against scratch, three folds."""
    table = tiny.real_pictures(home)
    card = tiny.random_card(home, 2)
    recipes = [{"name": "scratch"}, {"name": "moved", "start": "full", "source": str(card)}]
    file = tiny.study_file(table, recipes)
    found = tiny.run_json("study", file, "--out", home / "out", "--workers", 1)
    assert found["failures"] == []
    return home / "out"


def run_bundle(folder: Path, images: Path, out: Path, bars: Path) -> subprocess.CompletedProcess[str]:
    """Run a bundle as its card says, in an interpreter where allograft cannot be imported and no socket opens."""
    bars.mkdir()
    (bars / "sitecustomize.py").write_text(BARRED)
    card = (folder / "MODEL_CARD.md").read_text()
    command = next(line.split() for line in card.splitlines() if line.startswith("    python -m monai.bundle"))
    swap = {"python": sys.executable, "IMAGES": str(images), "RESULTS": str(out)}
    path = os.pathsep.join([str(bars), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [swap.get(word, word) for word in command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_the_bar_bars(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARRED)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for line, said in (
        ("import allograft.core", "barred: allograft"),
        ("socket.create_connection(('x', 1))", "barred"),
    ):
        words = [sys.executable, "-c", f"import socket\n{line}"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode != 0
        assert said in done.stderr


@pytest.mark.slow
def test_a_studys_winner_runs_as_a_monai_bundle_without_allograft(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("fire", reason="MONAI's command line needs it")
    said = tiny.run_json("export", pictures, "--format", "bundle", "--out", tmp_path / "bundle")
    assert len(said["runs"]) == 3
    images = sorted((pictures.parent / "png").glob("*-0.png"))
    table = tmp_path / "images.csv"
    table.write_text("image\n" + "\n".join(map(str, images)) + "\n")
    done = run_bundle(tmp_path / "bundle", table, tmp_path / "results", tmp_path / "bars")
    assert done.returncode == 0, done.stderr[-3000:]
    tiny.run_json("predict", pictures, table, "--out", tmp_path / "own")
    theirs, own = rows_of(tmp_path / "results"), rows_of(tmp_path / "own")
    assert [row["file"] for row in theirs] == [row["file"] for row in own]
    assert len(own) == len(images)
    for name in ("p_grass", "p_gravel"):
        np.testing.assert_allclose([float(r[name]) for r in theirs], [float(r[name]) for r in own], atol=2e-6)
    assert [row["predicted"] for row in theirs] == [row["predicted"] for row in own]


@pytest.mark.slow
def test_segmented_volumes_are_equal_voxel_by_voxel_without_allograft(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("fire", reason="MONAI's command line needs it")
    synthetic_volumes_with_masks(tmp_path / "in", patients=2)
    for mask in (tmp_path / "in").glob("*-seg.nii.gz"):
        mask.unlink()
    (tmp_path / "in/volumes.csv").unlink()
    settings = {
        "preprocess": Preprocess(intensity="standard", spacing=(2.0, 1.5, 1.5)),
        "patches": Patches(size=(16,) * 3),
    }
    net = random_bundle(tmp_path / "net", kind="segmentation", dims=3, **settings)
    tiny.run_json("export", net, "--out", tmp_path / "bundle")
    done = run_bundle(tmp_path / "bundle", tmp_path / "in", tmp_path / "results", tmp_path / "bars")
    assert done.returncode == 0, done.stderr[-3000:]
    tiny.run_json("predict", net, tmp_path / "in", "--out", tmp_path / "own", "--format", "nifti")
    for number in range(2):
        name = f"Mustermann{number}-img_seg.nii.gz"
        one, other = (nibabel.load(tmp_path / where / name) for where in ("results", "own"))
        a, b = (np.asarray(each.dataobj) for each in (one, other))
        np.testing.assert_allclose(one.affine, other.affine)
        assert a.dtype == b.dtype
        assert len(np.unique(b)) == len(CLASSES)
        assert (a == b).mean() >= 0.9999


def test_one_run_or_one_member_can_be_exported(pictures: Path, tmp_path: Path) -> None:
    said = tiny.run_json("export", pictures, "--out", tmp_path / "one", "--member", 1)
    run = tiny.run_json("export", pictures / "runs" / said["runs"][0], "--out", tmp_path / "run")
    assert run["runs"] == said["runs"]
    assert len(open_bundles([tmp_path / "one" / "networks" / said["runs"][0]], parts)) == 1
    assert "number 1 is handed over" in said["said"]


def test_the_model_card_says_what_the_study_found_and_names_nobody(pictures: Path, tmp_path: Path) -> None:
    summary = summarise(pictures)
    run = next(row.key.id for row in summary.runs if row.key.recipe == "moved")
    tiny.run_json("export", pictures / "runs" / run, "--out", tmp_path / "out")
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    assert all(sentence in card for sentence in summary.headline)
    estimate = next(r.estimate for r in summary.tables[0].recipes if r.name == "moved")
    assert f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})" in card
    for text in ("Not a medical device", "random2: own", "have seen: pictures", "model.ts", "are code"):
        assert text in card
    network = tmp_path / "out/networks" / run
    assert {p.name for p in network.iterdir()} == {"model.safetensors", "bundle.json", "card.yaml", "plan-table.json"}
    metadata = json.loads((tmp_path / "out/configs/metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "grass", "1": "gravel"}
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in {".md", ".json", ".yaml"}:
            text = path.read_text()
            assert tiny.patient(1) not in text, path
            assert str(pictures.parent) not in text, path


def test_a_wrong_export_is_one_message(pictures: Path, tmp_path: Path) -> None:
    assert "no such format" in str(
        tiny.run("export", pictures, "--out", tmp_path / "x", "--format", "pickle").exception
    )
    (tmp_path / "there").mkdir()
    assert "exists already" in str(tiny.run("export", pictures, "--out", tmp_path / "there").exception)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
