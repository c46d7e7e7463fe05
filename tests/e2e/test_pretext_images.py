"""Whose images a pretext task sees: training images, those of test cases where asked for, or another data set's.

The data are synthetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_study as tiny
import yaml
from synthetic_sites import synthetic_sites

from allograft.core.errors import ConfigError

TEXT = {
    "study": "synthetic images of a pretext task",
    "baseline": "own",
    "folds": 3,
    "test_folds": 1,
    "seeds": [0],
    "search": {"lrs": []},
    "preprocess": {"intensity": "standard", "size": [16, 16]},
    "common": {
        "net": {"encoder": "resnet10_small", "dims": 2, "width": 0.0625},
        "budget": {"steps": 6, "batch": 4, "evals": 1},
    },
    "recipes": [
        {"name": "own", "procedure": {"self_supervised": {}}},
        {"name": "all", "procedure": {"self_supervised": {"images": "all"}}},
        {"name": "others", "procedure": {"self_supervised": {"on": "more"}}},
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    tables = {name: synthetic_sites(folder / name, dims=2, patients=12) for name in ("cases", "more")}
    columns = {"image": "image", "group": "patient_id", "domain": "site", "label": "label"}
    own, more = ({"name": name, "path": str(path), **columns} for name, path in tables.items())
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**TEXT, "datasets": [own], "auxiliary": [more]}), encoding="utf-8")
    return path


def test_plans_say_it_before_anything_is_trained(study: Path) -> None:
    plans = tiny.run_json("plan", study)["plans"]
    said = {plan["recipe"]: json.dumps(plan) for plan in plans if plan["stage"] == "pretext"}
    assert {name for name, text in said.items() if "contamination: images of test cases" in text} == {"all"}


def test_the_report_says_whose_test_images_were_seen(study: Path, tmp_path: Path) -> None:
    told = tiny.run_json("study", study, "--out", tmp_path / "out", "--workers", "1")
    said = [text for text in told["warnings"] if "contamination" in text]
    (line,) = said
    assert line.startswith('cases, "all": contamination: the images of ')
    whole = line.split("images of ")[1].split(" test")[0].split(" of ")
    assert whole[0] == whole[1] != "0"
    assert line.split(": ", 1)[1] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    first = {
        run.parent.name: json.loads(run.read_text())[0]["data"] for run in (tmp_path / "out").glob("runs/*/stages.json")
    }
    assert sorted(map(tuple, first.values())) == [("cases",), ("cases",), ("more",)]


def test_a_data_set_that_is_not_there_is_named(study: Path, tmp_path: Path) -> None:
    text = yaml.safe_load(study.read_text())
    text["recipes"][2]["procedure"]["self_supervised"]["on"] = "nowhere"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(text))
    done = tiny.run("plan", tmp_path / "study.yaml")
    assert isinstance(done.exception, ConfigError)
    assert "nowhere" in str(done.exception)
    assert "auxiliary data sets are more" in str(done.exception)
