"""A study that waits for a person's labels and goes on; images chosen for labelling by its networks; real pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study as tiny
import yaml
from synthetic_masks import synthetic_volumes_with_masks

from allograft.core.errors import ConfigError, DataError
from allograft.web.journal import Journal, read_rows
from html_walk import Walk

ASKING = {"active_learning": {"rounds": 2, "per_round": 2, "acquisition": "entropy", "oracle": "person"}}


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def partly_labelled(folder: Path) -> Path:
    """Write real pictures of which the last three patients have no label; return a study file."""
    table = tiny.real_pictures(folder)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(_open(line) for line in lines[1:])]) + "\n")
    recipes = [{"name": "plain"}, {"name": "asking", "procedure": ASKING}]
    return tiny.study_file(table, recipes, test_folds=1, common={"budget": {"steps": 6, "batch": 4, "evals": 1}})


def _open(line: str) -> str:
    image, label, patient, site = line.split(",")
    return ",".join([image, "" if int(patient[-2:]) > 5 else label, patient, site])


def give(desk: Path, cases: list[dict[str, str]]) -> None:
    """Label cases as the page does; the truth stands in the files' names."""
    journal = Journal(desk / "labels-pictures.csv", cases, tiny.CLASSES)
    for row in cases:
        journal.set(row["case"], "grass" if "grass" in row["path"] else "gravel")
    journal.close()


def stages(out: Path) -> list[str]:
    return sorted(path.parent.name for path in (out / "work").glob("*/round-*/stage.json"))


def test_the_study_waits_says_so_and_goes_on_where_it_was(tmp_path: Path) -> None:
    file, out = partly_labelled(tmp_path), tmp_path / "out"
    first = tiny.run("study", file, "--out", out, "--workers", 1)
    assert first.exit_code == 0, first.output
    said = " ".join(first.output.split())
    assert "2 of 2 cases of pictures wait for a person's label" in said
    assert f"allograft label {out}/private/asked-pictures.csv" in said.replace("\n", "")
    assert "1 runs wait for labels" in said
    assert stages(out) == ["round-0"]
    asked = read_rows(out / "private" / "asked-pictures.csv", ("case", "path"))
    assert len(asked) == 2
    assert all(int(Path(row["path"]).name[10:12]) > 5 for row in asked), "only of the unlabelled patients"
    page = (out / "report.html").read_text()
    assert "waits for labels" in page
    assert "Mustermann" not in page
    before = {path: path.stat().st_mtime_ns for path in (out / "work").rglob("net.safetensors")}
    give(out / "private", asked[:1])
    again = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert "1 of 2 cases" in again["waiting"][0]["message"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is trained is not trained again"
    give(out / "private", read_rows(out / "private" / "asked-pictures.csv", ("case", "path")))
    third = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert "2 of 2 cases" in third["waiting"][0]["message"], "the second round asks for others"
    assert stages(out) == ["round-0", "round-1"]
    everything = read_rows(out / "private" / "asked-pictures.csv", ("case", "path"))
    assert len({row["case"] for row in everything}) == 4
    give(out / "private", everything)
    last = tiny.run_json("study", file, "--out", out, "--workers", 1)
    assert last["waiting"] == []
    assert last["runs"] == {"finished": 2, "planned": 2}
    _same_as_at_once(tmp_path, file, out)


def _same_as_at_once(folder: Path, file: Path, out: Path) -> None:
    """Give every label before the first answer is needed: the same results, byte by byte."""
    other = folder / "other"
    tiny.run("study", file, "--out", other, "--workers", 1)
    rows = [
        {"case": case, "path": str(path), "key": "", "row": ""}
        for path in sorted((folder / "png").glob("*.png"))
        if int(path.name[10:12]) > 5
        for case in [_case(other, path)]
        if case
    ]
    give(other / "private", rows)
    whole = tiny.run_json("study", file, "--out", other, "--workers", 1)
    assert whole["runs"] == {"finished": 2, "planned": 2}
    assert (other / "results.parquet").read_bytes() == (out / "results.parquet").read_bytes()
    for one in (out / "runs").glob("*/milestones.json"):
        assert (other / "runs" / one.parent.name / "milestones.json").read_bytes() == one.read_bytes()
        assert [row["labels"] for row in json.loads(one.read_text())][-1] == json.loads(one.read_text())[0][
            "labels"
        ] + 4


def _case(out: Path, path: Path) -> str:
    """Return the id of a picture's case."""
    names = json.loads((out / "private" / "ids.json").read_text())["pictures"].values()
    return next((name for name in names if path.stem in name or path.name in name), "")


def test_a_label_that_is_no_class_stops_the_run_with_its_line(tmp_path: Path) -> None:
    file, out = partly_labelled(tmp_path), tmp_path / "out"
    tiny.run("study", file, "--out", out, "--workers", 1)
    asked = read_rows(out / "private" / "asked-pictures.csv", ("case", "path"))
    (out / "private" / "labels-pictures.csv").write_text(f"case,label\n{asked[0]['case']},sand\n")
    found = tiny.run_json("study", file, "--out", out, "--workers", 1, code=1)
    assert "line 2" in found["failures"][0]["message"]
    assert "sand" in found["failures"][0]["message"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    table = tiny.real_pictures(folder)
    file = tiny.study_file(table, [{"name": "plain"}], common={"net": {"encoder": "cbr_tiny", "width": 0.25}})
    tiny.run_json("study", file, "--out", folder / "out", "--workers", 1)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("acquisition", ["random", "entropy", "margin", "bald", "k_centre", "medal", "o_medal"])
def test_images_are_chosen_by_the_winner(acquisition: str, study: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    tiny.real_pictures(pool, patients=4, each=1)
    (pool / "png" / "torn.png").write_bytes(b"no picture")
    out = tmp_path / "to_label.csv"
    said = tiny.run_json("select", study / "out", pool / "png", "--n", 3, "--acquisition", acquisition, "--out", out)
    rows = rows_of(out)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert len({row["path"] for row in rows}) == 3
    assert said["of"] == 8
    assert any("torn.png" in message for message in said["failed"])
    scores = [float(row["score"]) for row in rows]
    if acquisition in {"entropy", "margin", "bald"}:
        assert scores == sorted(scores, reverse=True)
    page = out.with_suffix(".html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "Mustermann" not in page
    assert "default-src 'none'" in page
    assert [said for said in Walk(page).complaints if "data:image/png;base64," not in said] == []
    assert read_rows(out, ("case", "path")), "what `allograft label` reads"
    with pytest.raises(ConfigError, match="--force"):
        raise tiny.run("select", study / "out", pool / "png", "--out", out).exception  # type: ignore[misc]


def test_labelled_images_are_not_asked_for_and_a_single_network_needs_dropout_for_bald(
    study: Path, tmp_path: Path
) -> None:
    failed = tiny.run("select", study / "out", study / "png", "--out", tmp_path / "none.csv")
    assert isinstance(failed.exception, DataError), "all of them are labelled"
    pool = tmp_path / "pool"
    tiny.real_pictures(pool, patients=2, each=1)
    run = next((study / "out" / "runs").iterdir())
    one = tiny.run("select", run, pool / "png", "--acquisition", "bald", "--out", tmp_path / "x.csv")
    assert isinstance(one.exception, ConfigError)
    assert "net.dropout" in str(one.exception)
    wrong = tiny.run("select", run, pool / "png", "--acquisition", "medall", "--out", tmp_path / "x.csv")
    assert 'Did you mean "medal"' in str(wrong.exception)
    assert not (tmp_path / "x.csv").exists()


def test_volumes_are_chosen_and_masks_drawn_elsewhere_taken_over(tmp_path: Path) -> None:
    from test_view import STUDY

    synthetic_volumes_with_masks(tmp_path / "data", patients=6)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "study": "synthetic-select"}), encoding="utf-8")
    tiny.run_json("study", tmp_path / "study.yaml", "--out", tmp_path / "out", "--workers", 1)
    pool = tmp_path / "pool"
    synthetic_volumes_with_masks(pool, patients=3, seed=5, prefix="New")
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for path in sorted(pool.glob("*-seg.nii.gz")):
        path.rename(drawn / path.name.replace("-seg", "-img_seg"))
    said = tiny.run_json("select", tmp_path / "out", pool / "volumes.csv", "--image", "image", "--n", 2,
                         "--out", tmp_path / "ask.csv")  # fmt: skip
    assert said["of"] == 3
    labels = tmp_path / "masks.csv"
    found = tiny.run_json("label", tmp_path / "ask.csv", "--out", labels, "--masks", drawn,
                          "--classes", "background,bright,dark")  # fmt: skip
    assert len(found["new"]) == 2
    assert all(Path(row["mask"]).exists() for row in rows_of(labels))
    few = tiny.run("label", tmp_path / "ask.csv", "--out", labels, "--masks", drawn, "--classes", "background,bright")
    assert isinstance(few.exception, DataError)
    assert "_seg.nii.gz" in str(few.exception)


def test_few_classes_are_refused(tmp_path: Path) -> None:
    failed: Any = tiny.run("label", tmp_path / "x.csv", "--out", tmp_path / "y.csv", "--classes", "one").exception
    assert isinstance(failed, ConfigError)
