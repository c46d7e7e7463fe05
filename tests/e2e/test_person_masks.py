"""A segmentation study that waits for masks drawn elsewhere and goes on; synthetic pictures and volumes with masks."""

from __future__ import annotations

import json
import os
import shutil
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
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks

from allograft.core.errors import ConfigError, DataError
from allograft.web.journal import read_rows

ASKING = {"active_learning": {"rounds": 2, "per_round": 1, "acquisition": "entropy", "oracle": "person"}}
CLASSES = ["background", "bright", "dark"]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def partly_drawn(folder: Path, dims: int, *, patients: int = 9, open_ones: int = 3) -> tuple[Path, Path]:
    """Write synthetic data whose last patients have no mask; return a study file and the folder of theirs."""
    make = synthetic_volumes_with_masks if dims == 3 else synthetic_pictures_with_masks
    table = make(folder / "cases", patients=patients)
    drawn = folder / "drawn"
    drawn.mkdir()
    lines = table.read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    for row in rows[-open_ones:]:
        whole = folder / "cases" / row[1]
        whole.rename(drawn / whole.name.replace("-seg", "-img_seg"))
        row[1] = ""
    table.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    columns = {"path": str(table), "image": "image", "mask": "mask", "group": "patient_id"}
    text = {
        "study": "synthetic, masks of a person",
        "baseline": "plain",
        "datasets": [{"name": "cases", **columns, "task": {"classes": CLASSES}}],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard", **({"spacing": "median"} if dims == 3 else {})},
        "patches": {"size": [16, 16, 16] if dims == 3 else [32, 32], "overlap": 0},
        "augment": {"preset": "light"},
        "common": {
            "net": {"encoder": "resnet10_small", "decoder": "unet", "dims": dims, "width": 0.0625},
            "budget": {"steps": 6, "batch": 2, "evals": 1},
            "optim": {"lr": 0.01},
        },
        "recipes": [{"name": "plain"}, {"name": "asking", "procedure": ASKING}],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path, drawn


def label(desk: Path, drawn: Path, *more: object, code: int = 0) -> dict[str, Any]:
    """Take masks over as a person does."""
    table, answers = desk / "asked-cases.csv", desk / "labels-cases.csv"
    options = ("--out", answers, "--masks", drawn, "--classes", ",".join(CLASSES))
    return tiny.run_json("label", table, *options, *more, code=code)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_study_waits_for_masks_and_goes_on_as_if_they_had_been_known(dims: int, tmp_path: Path) -> None:
    file, drawn = partly_drawn(tmp_path, dims)
    out, desk = tmp_path / "out", tmp_path / "out" / "private"
    first = tiny.run("study", file, "--out", out, "--workers", 1)
    assert first.exit_code == 0, first.output
    said = "".join(first.output.split())
    assert "1of1casesofcaseswaitforaperson'smask" in said
    assert f"allograftlabel{desk}/asked-cases.csv" in said
    assert f"--classes{','.join(CLASSES)}--masksFOLDER" in said
    (asked,) = read_rows(desk / "asked-cases.csv", ("case", "path"))
    before = {path: path.stat().st_mtime_ns for path in (out / "work").rglob("net.safetensors")}
    assert before
    mine = one_of(drawn, tmp_path / "mine", asked)
    taken = label(desk, mine)
    assert taken["new"] == [asked["case"]]
    shutil.rmtree(mine)  # the copies are what counts
    second = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert "1 of 1 cases" in second["waiting"][0]["message"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is trained is not trained again"
    assert len(read_rows(desk / "asked-cases.csv", ("case",))) == 2, "the second round asks for another"
    taken = label(desk, drawn)
    assert (len(taken["new"]), len(taken["known"]), taken["open"]) == (1, 1, [])
    last = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert (last["waiting"], last["runs"]) == ([], {"finished": 2, "planned": 2})
    rounds = json.loads(next((out / "runs").glob("*/milestones.json")).read_text())
    assert [row["labels"] for row in rounds] == [rounds[0]["labels"] + i for i in range(3)]
    _same_at_once(file, out, tmp_path / "other", drawn)


def one_of(drawn: Path, folder: Path, asked: dict[str, str]) -> Path:
    """Put the mask of one question into a folder of its own."""
    folder.mkdir()
    stem = Path(asked["path"]).name.split(".")[0]
    (mask,) = drawn.glob(f"{stem}_seg*")
    shutil.copy(mask, folder)
    return folder


def _same_at_once(file: Path, out: Path, other: Path, drawn: Path) -> None:
    """Give all masks before the first is needed: the same results byte by byte; and they did teach something."""
    desk = other / "private"
    tiny.run("study", file, "--out", other, "--workers", 1)
    names = json.loads((desk / "ids.json").read_text())["cases"].values()
    cases = [name for name in names if (file.parent / "cases" / name).exists() and _is_open(name, drawn)]
    assert len(cases) == 3
    rows = [f"{case},{file.parent / 'cases' / case},," for case in cases]
    (desk / "asked-cases.csv").write_text("\n".join(["case,path,key,row", *rows]) + "\n")
    assert len(label(desk, drawn)["new"]) == 3
    found = tiny.run_json("study", file, "--out", other, "--workers", 1)
    assert found["runs"] == {"finished": 2, "planned": 2}
    assert (other / "results.parquet").read_bytes() == (out / "results.parquet").read_bytes()
    for one in (out / "runs").glob("*/milestones.json"):
        assert (other / "runs" / one.parent.name / "milestones.json").read_bytes() == one.read_bytes()


def _is_open(name: str, drawn: Path) -> bool:
    return any(drawn.glob(f"{Path(name).name.split('.')[0]}_seg*"))


def test_other_masks_change_the_numbers_and_wrong_ones_are_refused_by_case(tmp_path: Path) -> None:
    file, drawn = partly_drawn(tmp_path, 2)
    out, desk = tmp_path / "out", tmp_path / "out" / "private"
    tiny.run("study", file, "--out", out, "--workers", 1)
    (asked,) = read_rows(desk / "asked-cases.csv", ("case", "path"))
    mine = one_of(drawn, tmp_path / "mine", asked)
    (mask,) = mine.iterdir()
    whole, shape = mask.read_bytes(), _pixels(mask).shape
    for wrong, words in (
        (np.zeros((9, 9), np.uint8), "differs from image grid"),
        (np.full(shape, 7, np.uint8), "holds the value 7"),
        (np.zeros(shape, np.uint8), "is empty"),
    ):
        _draw(mask, wrong)
        failed = tiny.run("label", desk / "asked-cases.csv", "--out", desk / "labels-cases.csv", "--masks", mine,
                          "--classes", ",".join(CLASSES))  # fmt: skip
        assert isinstance(failed.exception, DataError)
        assert words in str(failed.exception)
        assert asked["case"] in str(failed.exception)
        assert not (desk / "labels-cases.csv").exists(), "nothing is taken"
    assert label(desk, mine, "--empty")["new"] == [asked["case"]]
    mask.write_bytes(whole)
    assert label(desk, mine)["changed"] == [asked["case"]]
    _draw(mask, np.array([10, 20, 255], np.uint8)[_pixels(mask)])
    assert label(desk, mine, "--values", "10,20,255")["changed"] == [asked["case"]]
    found = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert found["failures"] == []
    assert "1 of 1 cases" in found["waiting"][0]["message"]
    (kept,) = [row for row in read_rows(desk / "labels-cases.csv", ("case", "mask")) if row["mask"]]
    Path(kept["mask"]).unlink()
    lost = tiny.run_json("study", file, "--out", out, "--workers", 1, code=1)
    assert "no such mask" in lost["failures"][0]["message"]


def _pixels(path: Path) -> Any:
    from PIL import Image

    return np.asarray(Image.open(path))


def _draw(path: Path, array: Any) -> None:
    from PIL import Image

    Image.fromarray(array).save(path)


def test_values_that_are_no_numbers_and_options_without_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ask.csv").write_text(f"case,path\na,{tmp_path}/a.png\n")
    start = ("label", tmp_path / "ask.csv", "--out", tmp_path / "x.csv", "--classes", "background,lesion")
    for more, words in (
        (("--masks", tmp_path, "--values", "0,0"), "a different whole number"),
        (("--masks", tmp_path, "--values", "0,lesion"), "a different whole number"),
        (("--values", "0,255"), "--masks"),
        (("--empty",), "--masks"),
    ):
        failed = tiny.run(*start, *more).exception
        assert isinstance(failed, ConfigError)
        assert words in str(failed)


CASES = 40


def test_killed_while_masks_are_taken_over_nothing_that_was_taken_is_lost(tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    rows = ["case,path,key,row"]
    for i in range(CASES):
        labels = np.zeros((6, 5, 4), np.uint8)
        labels[1, 1, : 1 + i % 4] = 1
        image = np.full((6, 5, 4), i, np.float32)
        for path, array in ((tmp_path / f"v{i}.nii.gz", image), (drawn / f"v{i}.nii.gz", labels)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
        rows.append(f"case{i},{tmp_path / f'v{i}.nii.gz'},,")
    (tmp_path / "ask.csv").write_text("\n".join(rows) + "\n")
    out, told = tmp_path / "labels.csv", 0
    for least in (1, 12, 25):
        process = subprocess.Popen([sys.executable, "-c", "from allograft.cli import main; main()", *words(tmp_path)])
        while process.poll() is None and taken(out) < least:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed on the way"
        told_now = taken(out)
        assert told_now >= max(told, least), "what was taken stays taken"
        told = told_now
        assert told < CASES
    found = tiny.run_json(*words(tmp_path))
    assert len(found["new"]) + len(found["known"]) == CASES
    assert len(found["known"]) >= told
    assert not out.with_name("labels.csv.journal").exists()
    for row in read_rows(out, ("case", "mask")):
        assert Path(row["mask"]).read_bytes() == (drawn / f"{row['case'].replace('case', 'v')}.nii.gz").read_bytes()


def words(folder: Path) -> list[str]:
    table, out = str(folder / "ask.csv"), str(folder / "labels.csv")
    return ["label", table, "--out", out, "--masks", str(folder / "drawn"), "--classes", "background,lesion"]


def taken(out: Path) -> int:
    """Return how many masks the table or the journal holds: what was confirmed."""
    if not out.exists():
        return 0
    known = {row["case"] for row in read_rows(out, ("case", "mask")) if row["mask"]}
    journal = out.with_name("labels.csv.journal")
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return len(known | {json.loads(line)["case"] for line in lines})
