"""Chains through `allograft study` on synthetic images: labels and masks, 2-D and 3-D, from plan to report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study as tiny
import yaml
from safetensors.torch import load_file
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks
from synthetic_systems import synthetic_table

from allograft.core.config import read_yaml

CLASSES = ["background", "bright", "dark"]
SHAPES = {2: (32, 36), 3: (8, 20, 16)}
CASES = [("classification", 2), ("classification", 3), ("segmentation", 2), ("segmentation", 3)]


def labels(folder: Path, name: str, dims: int, *, seed: int, cases: int = 12) -> dict[str, Any]:
    spec = {"image": "image", "label": "label", "group": "patient", "task": {"classes": ["plain", "spot"]}}
    table = synthetic_table(folder / name, spec, SHAPES[dims], cases=cases, seed=seed)
    return {"name": name, "path": str(table), **spec}


def masks(folder: Path, name: str, dims: int, *, seed: int) -> dict[str, Any]:
    make = synthetic_volumes_with_masks if dims == 3 else synthetic_pictures_with_masks
    columns = {"image": "image", "mask": "mask", "group": "patient_id"}
    return {
        "name": name,
        "path": str(make(folder / name, patients=4, seed=seed)),
        **columns,
        "task": {"classes": CLASSES},
    }


def chain_study(folder: Path, kind: str, dims: int, **fields: Any) -> Path:
    """Write a study with a chain of two links of different kinds before a task of `kind`."""
    target = (
        labels(folder, "target", dims, seed=1) if kind == "classification" else masks(folder, "target", dims, seed=1)
    )
    links = [{"on": ["photos"], "share": 0.25}, {"on": ["nearer"], "share": 0.25, "tuning": "discriminative"}]
    net = {"encoder": "resnet10_small", "width": 0.0625, "dims": dims}
    direct = {**net, "decoder": "unet"} if kind == "segmentation" else net
    text = {
        "study": "chains, on synthetic data",
        "datasets": [target],
        "auxiliary": [labels(folder, "photos", dims, seed=2), masks(folder, "nearer", dims, seed=3)],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard"},
        "patches": {"size": [8, 16, 16] if dims == 3 else [32, 32]},
        "common": {"budget": {"steps": 8, "batch": 2, "evals": 1}, "augment": {"preset": "none"}},
        "recipes": [
            {"name": "direct", "net": direct},
            {"name": "chain", "net": {**net, "decoder": "unet"}, "procedure": {"continual": {"links": links}}},
        ],
        "baseline": "direct",
        **fields,
    }
    if kind == "classification" and dims == 3:
        for one in (text["datasets"][0], text["auxiliary"][0]):
            one["preprocess"] = {"intensity": "standard", "size": [8, 20, 16]}
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return file


class Ran:
    """A finished study of a chain: its file, what `plan` and `study` said, and the folder of the chain's run."""

    def __init__(self, kind: str, dims: int, folder: Path) -> None:
        self.file, self.kind = chain_study(folder, kind, dims), kind
        self.plans = tiny.run_json("plan", self.file)["plans"]
        self.said = tiny.run_json("study", self.file, "--out", folder / "out", "--workers", 1)
        found = [path.parent for path in (folder / "out" / "runs").glob("*/outcome.json")]
        self.run = next(p for p in found if json.loads((p / "outcome.json").read_text())["key"]["recipe"] == "chain")
        self.out = folder / "out"

    def stages(self) -> list[dict[str, Any]]:
        return list(json.loads((self.run / "stages.json").read_text()))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}d")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield Ran(*request.param, folder)


def test_every_stage_is_planned_beforehand_as_it_is_trained(ran: Ran) -> None:
    planned = [p for p in ran.plans if p["recipe"] == "chain"]
    trained = ran.stages()
    assert [p["stage"] for p in planned] == [s["stage"] for s in trained] == ["link1", "link2", "finetune"]
    assert [(p["data"], p["steps"]) for p in planned] == [(s["data"], s["steps"]) for s in trained]
    assert [p["steps"] for p in planned] == [2, 2, 4]
    assert [p["data"] for p in planned] == [["photos"], ["nearer"], ["target"]]
    assert all(p["problems"] == [] for p in planned)
    tables = [one["rows"] for one in json.loads((ran.run / "plan-table.json").read_text())["stages"]]
    rehearsed = [p["coverage"] for p in planned]
    assert [len(rows) > 0 for rows in tables] == [True] * 3
    assert rehearsed[0]["copied"] == 0 < rehearsed[1]["copied"]


def test_each_link_begins_with_the_encoder_of_the_one_before_and_is_proven(ran: Ran) -> None:
    first, second, last = ran.stages()
    assert first["plan"]["source"] is None
    assert first["proof"] == ""
    for stage, source in ((second, "link1"), (last, "link2")):
        encoder = [e for e in stage["plan"]["entries"] if e["target"].startswith("encoder.")]
        assert stage["plan"]["source"] == source
        assert {e["action"] for e in encoder} == {"copy"}
        assert stage["proof"].startswith("fingerprint met")
    assert second["plan"]["tuning"] == "discriminative"
    heads = {e["stage"] for e in last["plan"]["entries"] if e["stage"].startswith("head.")}
    assert heads == {"head.mask" if ran.kind == "segmentation" else "head.label"} or len(heads) == 1


def test_the_card_of_the_run_says_what_the_whole_chain_has_seen(ran: Ran) -> None:
    card = read_yaml(ran.run / "model" / "card.yaml")
    assert card["seen"] == ["photos", "nearer", "target"]
    assert load_file(ran.run / "model" / "model.safetensors")


def test_report_and_comparison_show_the_chain_and_a_plan_of_every_stage(ran: Ran) -> None:
    chain = tiny.run_json("compare", ran.out)["chains"]
    assert list(chain) == ["chain"]
    assert [(s["stage"], s["source"]) for s in chain["chain"]["stages"]] == [
        ("link1", None),
        ("link2", "link1"),
        ("finetune", "link2"),
    ]
    assert all(s["validation"] is not None and s["metric"] for s in chain["chain"]["stages"])
    page = (ran.out / "report.html").read_text(encoding="utf-8")
    shown = re.search(r'<figure class="way".*?</figure>', page, re.DOTALL)
    assert shown is not None
    text = shown[0]
    assert text.index("photos") < text.index("nearer") < text.index("target")
    assert text.count("<li") == 4
    assert "fingerprint met" in text
    assert len(re.findall(r"<h4>Stage (?:link1|link2|finetune)</h4>", page)) == 3
    assert "Mustermann" not in page


def test_a_problem_of_a_later_stage_stops_the_study_before_it_begins(tmp_path: Path) -> None:
    links = [{"on": ["photos"], "share": 0.5, "move": {"partial": {"until": "stage9"}}}]
    recipes = [
        {"name": "direct", "net": {"encoder": "resnet10_small", "width": 0.0625}},
        {
            "name": "chain",
            "net": {"encoder": "resnet10_small", "width": 0.0625},
            "procedure": {"continual": {"links": links}},
        },
    ]
    file = chain_study(tmp_path, "classification", 2, recipes=recipes)
    refused = tiny.run("study", file, "--out", tmp_path / "out", "--workers", 1)
    assert refused.exit_code == 1
    assert "stage9" in str(refused.exception)
    assert not list((tmp_path / "out").glob("runs/*"))
