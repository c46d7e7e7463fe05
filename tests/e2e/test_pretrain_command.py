"""`allograft pretrain`: images without labels become a source that studies plan, prove and compare.

Pictures are patches of two real ones whose "patients" are made up; volumes are synthetic.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tiny_study as tiny
import yaml

from allograft.study.sources import find_card, open_source
from allograft.weights.export import CARD, TENSORS

NET = "{encoder: cbr_tiny, width: 0.25}"
FEW = ("--steps", 6, "--batch", 4, "--evals", 2)
PATTERN = r"^(Mustermann\d+)-"
FILES = {
    CARD,
    TENSORS,
    "made-with.json",
    "outcome.json",
    "plan-table.json",
    "pretraining.json",
    "report.html",
    "stages.json",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with real pictures and a home of its own."""
    folder = tmp_path_factory.mktemp("pretrain")
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(folder, patch)
        patch.setattr("allograft.study.pretraining.processors", lambda: 1)
        tiny.real_pictures(folder)
        yield folder


def pretrained(data: object, out: Path, *more: object, code: int = 0) -> dict[str, Any]:
    command = ("pretrain", data, "--method", "rotation", "--net", NET, "--out", out, *FEW, *more)
    return tiny.run_json(*command, code=code)


@pytest.fixture(scope="module")
def source(place: Path) -> Path:
    """A source of the folder of pictures."""
    pretrained(place / "png", place / "plain", "--group-pattern", PATTERN)
    return place / "plain"


def study(place: Path, *sources: Path, **fields: Any) -> Path:
    """Write a study of the pictures that tests one of three folds, with a recipe for each source."""
    recipes = [{"name": "scratch", "start": "scratch"}]
    recipes += [{"name": each.name, "source": str(each), "start": "full"} for each in sources]
    name = f"{'-'.join(['study', *(each.name for each in sources)])}.yaml"
    return tiny.study_file(place / "pictures.csv", recipes, name=name, test_folds=1, **fields)


def contamination(plans: dict[str, Any], recipe: str) -> list[str]:
    (notes,) = [plan["notes"] for plan in plans["plans"] if plan["recipe"] == recipe]
    return [note for note in notes if note.startswith("contamination:")]


def test_a_folder_of_pictures_becomes_a_source_with_a_whole_card(place: Path, source: Path) -> None:
    assert {path.name for path in source.iterdir()} - {"pretext.npz"} == FILES
    card = find_card(str(source))
    assert card.fingerprint is not None
    assert (card.encoder, card.width, card.dims, card.seen) == ("cbr_tiny", 0.25, 2, (f"{place.name}-png",))
    assert "rotation" in card.title
    assert card.reference.arxiv == "2006.03829"
    assert (card.license, card.commercial) == ("own", True)
    assert len(card.expects.mean) == card.expects.channels == 1
    (stage,) = json.loads((source / "stages.json").read_text())
    last = stage["history"]["rows"][-1]["validation"]
    assert {"held_out_accuracy", "held_out_chance", "held_out_loss", "spread", "uniformity"} <= set(last)
    facts = json.loads((source / "outcome.json").read_text())
    assert facts["unit"] == "patient"
    assert facts["learnt"] == [28, 7]
    assert facts["held_out"] == [8, 2]


def test_the_page_shows_monitors_and_pictures_unless_they_are_not_wanted(place: Path) -> None:
    command = (place / "png", place / "plain", "--group-pattern", PATTERN)
    bare = Path(pretrained(*command, "--no-pictures")["report"]).read_text(encoding="utf-8")
    page = Path(pretrained(*command)["report"]).read_text(encoding="utf-8")
    assert "<svg" in bare
    assert "data:image/png" not in bare
    assert "data:image/png" in page


def test_nothing_of_a_source_names_a_patient(source: Path) -> None:
    for path in source.rglob("*"):
        assert b"Mustermann0" not in path.read_bytes(), path.name


def test_the_console_says_what_was_learnt_and_how_a_study_names_it(place: Path, source: Path) -> None:
    command = ("pretrain", place / "png", "--method", "rotation", "--net", NET, "--out", source, *FEW)
    found = tiny.run(*command, "--group-pattern", PATTERN)
    assert found.exit_code == 0, found.output
    assert "held-out accuracy" in found.output
    assert "by chance 0.250" in found.output
    assert f"source: {source}, start: full, net: {{encoder: cbr_tiny, width: 0.25}}" in found.output


def test_it_is_planned_proven_and_compared_in_a_study_that_says_what_it_has_seen(place: Path, source: Path) -> None:
    file = study(place, source)
    (said,) = contamination(tiny.run_json("plan", file), "plain")
    assert "of the 3 patients" in said
    found = tiny.run_json("study", file, "--out", place / "compared", "--workers", 1)
    assert found["runs"] == {"finished": 2, "planned": 2}
    page = (place / "compared" / "report.html").read_text(encoding="utf-8")
    assert "were made with cases of" in page
    runs = [path.parent for path in (place / "compared" / "runs").glob("*/outcome.json")]
    stages = [json.loads((run / "stages.json").read_text())[0] for run in runs]
    (proof,) = [stage["proof"] for stage in stages if stage["proof"]]
    assert proof.startswith("fingerprint met")
    # What a run began with is handed on: it is known of the run's own weights too.
    (run,) = [run for run in runs if json.loads((run / "outcome.json").read_text())["key"]["recipe"] == "plain"]
    assert json.loads((run / "made-with.json").read_text())["seen"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_study_tests_is_kept_out_with_all_images_of_these_patients(place: Path, source: Path, kind: str) -> None:
    file = study(place, source)
    if kind == "folder" and not (place / "compared").exists():
        tiny.run_json("study", file, "--out", place / "compared", "--workers", 1)
    without = file if kind == "file" else place / "compared"
    clean = place / f"clean-{kind}"
    found = pretrained(place / "png", clean, "--group-pattern", PATTERN, "--without", without)
    assert found["facts"]["left_out"] == 12
    assert found["facts"]["learnt"][1] + found["facts"]["held_out"][1] == 6
    plans = tiny.run_json("plan", study(place, source, clean))
    assert contamination(plans, "plain")
    assert contamination(plans, clean.name) == []


def test_copies_under_other_names_are_found_and_known_names_still_warn(place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "scans"
    for number, path in enumerate(sorted((place / "png").iterdir())):
        copy = elsewhere / f"anon{number // 4}" / f"{number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    found = pretrained(elsewhere, tmp_path / "renamed")
    assert found["facts"]["unit"] == "folder"
    (said,) = contamination(tiny.run_json("plan", study(place, tmp_path / "renamed")), "renamed")
    assert "of the 3 patients" in said
    pretrained(elsewhere, tmp_path / "left", "--without", study(place))
    assert contamination(tiny.run_json("plan", study(place, tmp_path / "left")), "left") == []


def test_a_source_can_be_begun_with_another_and_its_past_is_told(place: Path, source: Path) -> None:
    found = pretrained(place / "png", place / "second", "--group-pattern", PATTERN, "--source", source, "--lr", 0.01)
    assert "from plain" in found["card"]["title"]
    plan = json.loads((place / "second" / "plan-table.json").read_text())
    assert plan["stages"][0]["source"] == "plain"
    assert plan["stages"][0]["proof"].startswith("fingerprint met")
    assert len(json.loads((place / "second" / "made-with.json").read_text())["seen"]) == 1


def volumes(folder: Path) -> Path:
    """Write synthetic volumes of several sizes, two of each of five patients; return their folder."""
    rng = np.random.default_rng(0)
    for patient in range(5):
        (folder / f"P{patient}").mkdir(parents=True)
        for scan in range(2):
            shape = (34 + 2 * patient, 36, 33 + scan)
            image = nibabel.Nifti1Image(rng.normal(size=shape).astype(np.float32), np.eye(4))
            nibabel.save(image, folder / f"P{patient}" / f"scan{scan}.nii.gz")
    return folder


def test_volumes_of_several_sizes_are_learnt_from_in_windows(place: Path, tmp_path: Path) -> None:
    scans = volumes(tmp_path / "scans")
    refused = tiny.run("pretrain", scans, "--method", "rotation", "--net", NET, "--out", tmp_path / "raw", *FEW)
    assert 'intensity "percentile" or "standard"' in str(refused.exception)
    (tmp_path / "spacing.yaml").write_text("preprocess: {spacing: median}")
    how = ("--config", tmp_path / "spacing.yaml", "--intensity", "standard", "--patch", "16,16,16")
    found = pretrained(scans, tmp_path / "three", *how)
    assert found["card"]["expects"]["spacing_mm"] == [1.0, 1.0, 1.0]
    assert found["card"]["dims"] == 3
    assert found["card"]["expects"]["standard"] is True
    assert found["facts"]["shape"] == [1, 16, 16, 16]
    assert found["facts"]["windows"] is True
    assert found["facts"]["unit"] == "folder"
    assert open_source(str(tmp_path / "three")).verified or find_card(str(tmp_path / "three")).sha256
    balls = tiny.synthetic_volumes(tmp_path / "balls")
    recipes = [{"name": "scratch", "start": "scratch"}, {"name": "three", "source": str(tmp_path / "three")}]
    recipes[1]["start"] = "full"
    other = tiny.run("plan", tiny.study_file(balls, recipes))
    assert "intensity: standard" in str(other.exception)
    file = tiny.study_file(balls, recipes, preprocess={"size": [8, 8, 8], "intensity": "standard"})
    assert contamination(tiny.run_json("plan", file), "three") == []


def test_real_histology_is_known_by_name_and_its_classes_are_watched_only(place: Path, tmp_path: Path) -> None:
    config = tmp_path / "pretrain.yaml"
    text = {"method": {"simclr": {"hidden": 16, "output": 8}}, "net": {"encoder": "cbr_tiny", "width": 0.25}}
    config.write_text(yaml.safe_dump({**text, "budget": {"steps": 400, "batch": 8, "evals": 1}}))
    command = ("pretrain", "skin_histology", "--config", config, "--out", tmp_path / "skin", "--steps", 4, "--labels")
    found = tiny.run_json(*command)
    assert found["facts"]["unit"] == "strip"
    assert found["facts"]["shape"] == [1, 48, 48]
    assert found["card"]["seen"][0] == "skin_histology"
    assert found["card"]["expects"]["standard"] is True
    last = found["history"][-1]
    assert last["step"] == 4
    assert {"knn", "probe", "retrieval"} <= set(last["validation"])
    again = tiny.run("pretrain", "skin_histology", "--config", config, "--out", tmp_path / "skin", "--labels")
    assert again.exit_code == 1
    assert "budget.steps: there 4, now 400" in str(again.exception)


def wrong(place: Path, tmp_path: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    """Return commands that cannot work, and what each is to say."""
    out = ("--out", tmp_path / "out")
    png = place / "png"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torn.png").write_bytes(b"\x89PNG\r\n")
    (broken / "notes.txt").write_text("no image")
    for path in sorted(png.iterdir())[:4]:
        (broken / path.name).write_bytes(path.read_bytes())
    plain = ("--method", "rotation", "--net", NET)
    return {
        "method": ((png, "--method", "rotatoin", "--net", NET, *out), 'Did you mean "rotation"'),
        "labels": ((png, "--method", "supervised", "--net", NET, *out), "needs labels or other data"),
        "no method": ((png, "--net", NET, *out), "method: this field is required"),
        "net": ((png, "--method", "rotation", "--net", "resnet81", *out), 'no encoder "resnet81"'),
        "dims": ((png, "--method", "rotation", "--net", "{encoder: cbr_tiny, dims: 3}", *out), "images of"),
        "folder": ((tmp_path / "nowhere", *plain, *out), "no such file or folder, and no data set of that name"),
        "empty": ((tmp_path, *plain, "--group-pattern", "(", *out), "not a regular expression"),
        "torn": ((broken, *plain, *out), "torn.png"),
        "size": ((png, *plain, "--size", "big", *out), "expected 2 or 3 whole numbers"),
        "taken": ((png, *plain, "--out", png), "is no folder of a pre-training"),
        "nothing left": ((png, *plain, "--without", png, *out), "none is left to learn from"),
    }


def test_what_cannot_work_is_said_before_anything_is_trained(place: Path, tmp_path: Path) -> None:
    for name, (command, said) in wrong(place, tmp_path).items():
        found = tiny.run("pretrain", *command, *FEW)
        assert found.exit_code == 1, name
        assert said in f"{found.output} {found.exception}", f"{name}: {found.exception}"
    assert not (tmp_path / "out" / CARD).exists()


def test_unreadable_files_are_left_out_only_on_request_and_listed(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n")
    (folder / "notes.txt").write_text("no image")
    for path in sorted((place / "png").iterdir())[:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    asked = ("--method", "rotation", "--net", NET, "--out", tmp_path / "out", *FEW, "--skip-unreadable")
    told = tiny.run("pretrain", folder, *asked)
    assert told.exit_code == 0, told.output
    assert "torn.png: cannot be decoded" in told.output
    found = pretrained(folder, tmp_path / "out", "--skip-unreadable")
    notes = " ".join(found["facts"]["notes"])
    assert "1 images cannot be read and were left out" in notes
    assert "torn.png" not in notes
    assert "files that are no images were left out: 1 .txt" in notes
    assert sum(part[0] for part in (found["facts"]["learnt"], found["facts"]["held_out"])) == 6


# As the command line, but with a checkpoint at every step, so that kills fall between any two.
EAGER = "from allograft.study import stage; stage.SAVE_SECONDS = 0; from allograft.cli import main; main()"


def variables(place: Path) -> dict[str, str]:
    return {**os.environ, "ALLOGRAFT_HOME": str(place / "home"), "OMP_NUM_THREADS": "1"}


def command(place: Path, out: Path, *more: object) -> list[str]:
    given = (place / "png", "--method", "simsiam", "--net", NET, "--batch", 4, "--group-pattern", PATTERN)
    return [str(each) for each in ("pretrain", *given, "--out", out, *more)]


@pytest.mark.slow
def test_killed_anywhere_and_continued_gives_the_same_source_bit_for_bit(place: Path, tmp_path: Path) -> None:
    asked, one = ("--steps", 60, "--evals", 60), sorted(os.sched_getaffinity(0))[:1]

    def begin(out: Path) -> subprocess.Popen[bytes]:
        pinned = ["taskset", "-c", str(one[0]), sys.executable, "-c", EAGER]
        log = (tmp_path / f"{out.parent.name}.log").open("ab")
        return subprocess.Popen([*pinned, *command(place, out, *asked)], env=variables(place), stdout=log, stderr=log)

    whole, killed = tmp_path / "whole" / "source", tmp_path / "killed" / "source"
    assert begin(whole).wait(timeout=300) == 0, (tmp_path / "whole.log").read_text()
    checkpoint = killed / "work" / "stages" / "pretext" / "training" / "checkpoint.safetensors"
    for moment in (killed / "pretraining.json", killed / "work" / "images", checkpoint, checkpoint):
        process, seen, end = begin(killed), moment.exists() and moment.stat().st_mtime_ns, time.monotonic() + 200
        while time.monotonic() < end and process.poll() is None:
            if moment.exists() and moment.stat().st_mtime_ns != seen:
                break
            time.sleep(0.005)
        assert process.poll() is None, (tmp_path / "killed.log").read_text()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (killed / CARD).exists()
    assert checkpoint.exists()
    assert begin(killed).wait(timeout=300) == 0, (tmp_path / "killed.log").read_text()
    for name in sorted(FILES - {CARD}):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    cards = [yaml.safe_load((folder / CARD).read_text()) for folder in (whole, killed)]
    assert [card.pop("origin") for card in cards] == [f"run:{whole}", f"run:{killed}"]
    assert cards[0] == cards[1]
    assert not (killed / "work").exists()


@pytest.mark.slow
def test_two_processes_make_one_source_and_only_the_first_writes(place: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    launcher += ["--standalone", "-m", "allograft"]
    asked = [*command(place, tmp_path / "two", "--steps", 6, "--evals", 2, "--devices", 2), "--json"]
    done = subprocess.run([*launcher, *asked], env=variables(place), capture_output=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found = json.loads(done.stdout)  # one document: the second process says nothing
    assert found["history"][-1]["step"] == 6
    assert {path.name for path in (tmp_path / "two").iterdir()} - {"pretext.npz"} == FILES
    assert json.loads((tmp_path / "two" / "pretraining.json").read_text())["device"]["devices"] == 2
    assert find_card(str(tmp_path / "two")).fingerprint is not None
    alone = subprocess.run([*launcher, *asked[:-3], "--json"], env=variables(place), capture_output=True, check=False)
    assert b"2 processes were started for 1 devices" in alone.stdout + alone.stderr
