"""`allograft view` and the pictures of a report, from a study of synthetic volumes; the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny_study as tiny
import yaml
from PIL import Image
from synthetic_masks import synthetic_volumes_with_masks

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from allograft.data.origins import reachable
from allograft.study.slices import read_slice
from allograft.study.view_case import view_case
from allograft.web.viewer import NIIVUE, NIIVUE_SHA256, LabelMap, viewer_page
from allograft.web.volume import focus_of, nifti_of
from html_walk import Walk

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--hide-scrollbars", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--enable-logging=stderr", "--virtual-time-budget=20000",
)  # fmt: skip
STUDY = {
    "study": "synthetic-view",
    "datasets": [{"name": "volumes", "path": "data/volumes.csv", "image": "image", "mask": "mask",
                  "group": "patient_id", "task": {"classes": ["background", "bright", "dark"]}}],
    "baseline": "scratch",
    "folds": 3,
    "test_folds": 1,
    "seeds": [0],
    "common": {"net": {"encoder": "resnet10_small", "dims": 3, "decoder": "unet", "width": 0.125},
               "budget": {"steps": 2, "batch": 1, "evals": 1}, "augment": {"preset": "none"}},
    "patches": {"size": [16, 16, 16]},
    "preprocess": {"intensity": "standard"},
    "search": {"lrs": []},
    "recipes": [{"name": "scratch"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    synthetic_volumes_with_masks(folder / "data", patients=6)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    tiny.run_json("study", folder / "study.yaml", "--out", folder / "out", "--workers", 1)
    return folder / "out"


@pytest.fixture(scope="module")
def niivue() -> str:
    if not reachable(NIIVUE, sha256=NIIVUE_SHA256):
        pytest.skip(f"{NIIVUE} cannot be reached from here")
    return "fetched"


def test_a_run_keeps_a_slice_of_every_test_case_without_names(study: Path) -> None:
    (run,) = (study / "runs").iterdir()
    labels, slices = ({path.name for path in (run / part).iterdir()} for part in ("labels", "slices"))
    assert labels == slices
    assert slices
    for name in slices:
        assert "Mustermann" not in name
        found = read_slice(run / "slices" / name)
        assert found.truth.max() > 0, "the slice with most of the truth"
        assert found.image.shape == found.truth.shape == found.labels.shape
        assert found.image.std() > 10


def test_the_report_shows_the_cases_and_can_leave_them_out(study: Path) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    walk = Walk(page)
    assert walk.complaints == []
    assert "Worst case" in walk.text
    assert "Mustermann" not in page
    bare = study / "bare.html"
    tiny.run_json("report", study, "--no-pictures", "--to", bare)
    text = bare.read_text(encoding="utf-8")
    assert "data:image/png" not in text
    assert 'id="cases"' not in text


def test_a_case_is_read_again_from_the_study_s_data(study: Path) -> None:
    (run,) = (path.name for path in (study / "runs").iterdir())
    found = view_case(study, (run,))
    assert found.name == found.others[0]
    assert found.image.geometry.shape == found.labels.shape
    assert found.truth is not None
    assert set(np.unique(found.truth)) == {0, 1, 2}
    last = view_case(study, (run,), found.others[-1])
    assert last.name == found.others[-1]
    with pytest.raises(ConfigError, match="no test case of that name"):
        view_case(study, (run,), "0123456789")


def test_data_that_went_or_changed_are_said(study: Path, tmp_path: Path) -> None:
    (run,) = (path.name for path in (study / "runs").iterdir())
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("cache"))
    (copy / "private" / "ids.json").unlink()
    with pytest.raises(DataError, match=r"ids\.json"):
        view_case(copy, (run,))


@pytest.mark.usefixtures("niivue")
def test_the_page_is_written_once_and_names_nobody(study: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = tiny.run_json("view", study, "--out", page)
    text = page.read_text(encoding="utf-8")
    assert "Mustermann" not in text
    assert said["title"] in text
    assert len(said["cases"]) == 2
    again = tmp_path / "again.html"
    tiny.run_json("view", study, "--case", said["cases"][0], "--out", again)
    assert again.read_bytes() == page.read_bytes()
    assert "default-src 'none'" in text
    assert "Copyright (c) 2021, Niivue" in text, "its licence asks for it"


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium found on this machine")
@pytest.mark.usefixtures("niivue")
def test_the_page_draws_in_a_browser_without_a_complaint(study: Path, tmp_path: Path) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    tiny.run_json("view", study, "--out", page)
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, "--window-size=1200,800"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    if "draws no WebGL 2" in done.stdout.partition("<script")[0]:
        pytest.skip("this Chromium has no WebGL 2, not even in software")
    assert 'data-state="ready"' in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    rows = re.findall(r"<td class=\"\">.*?(bright|dark)</td>", done.stdout)
    assert rows == ["bright", "dark"]
    subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], capture_output=True, timeout=180, check=True)
    with Image.open(shot) as image:
        stage = np.asarray(image.convert("RGB"))[120:780, :860].astype(int)
    assert (stage.max(axis=2) > 60).mean() > 0.2, "slices are drawn"
    assert (np.ptp(stage, axis=2) > 60).mean() > 0.001, "labels or the cross are coloured"


@pytest.mark.usefixtures("niivue")
def test_files_are_viewed_without_a_study(tmp_path: Path) -> None:
    synthetic_volumes_with_masks(tmp_path, patients=1)
    image, labels = (tmp_path / f"Mustermann0-{part}.nii.gz" for part in ("img", "seg"))
    page = tmp_path / "page.html"
    tiny.run_json("view", "--image", image, "--labels", labels, "--names", "liver,<b>spleen", "--out", page)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    data = json.loads(found[1])
    assert [row["name"] for row in data["classes"]] == ["liver", "<b>spleen"]
    assert "<b>spleen" not in found[1], "a name never ends the script"
    assert [layer["name"] for layer in data["layers"]] == ["image", "prediction"]


def test_volumes_in_the_page_lie_where_the_file_says(tmp_path: Path) -> None:
    import base64

    synthetic_volumes_with_masks(tmp_path, patients=1)
    file = tmp_path / "Mustermann0-img.nii.gz"
    image = read_image(ImageRef(file))
    inside = tmp_path / "inside.nii.gz"
    inside.write_bytes(base64.b64decode(nifti_of(image)))
    ours, theirs = (nibabel.as_closest_canonical(nibabel.load(path)) for path in (inside, file))
    assert np.allclose(ours.affine, theirs.affine)
    assert np.allclose(ours.get_fdata(), theirs.get_fdata(), atol=1e-3)
    labels = np.zeros(image.geometry.shape, np.int16)
    labels[3, 5, 7] = 1
    world = focus_of(image, [labels])
    voxel = np.linalg.inv(theirs.affine) @ [*world, 1]
    assert np.allclose(voxel[:3], (7, 5, 3))


def test_wrong_calls_say_what_to_do(tmp_path: Path) -> None:
    synthetic_volumes_with_masks(tmp_path, patients=1)
    image = read_image(ImageRef(tmp_path / "Mustermann0-img.nii.gz"))
    with pytest.raises(DataError, match="do not lie on the image's grid"):
        viewer_page(image, [LabelMap("truth", np.zeros((2, 2, 2), int))], (), title="x", said=(), niivue="")
    for words, said in ((("view",), "either"), (("view", "--image", tmp_path / "x.nii.gz"), "--labels")):
        failed = tiny.run(*words, "--out", tmp_path / "no.html")
        assert isinstance(failed.exception, ConfigError)
        assert said in str(failed.exception)
        assert not (tmp_path / "no.html").exists()
