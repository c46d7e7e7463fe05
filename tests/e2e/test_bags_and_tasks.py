"""Bags and several tasks through `allograft study`, on synthetic data: labels of several kinds for the same cases.

A table has a class, two yes/no labels and a mask for each case; some cells are empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study as tiny
import torch
import yaml
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks

from allograft.catalog import parts
from allograft.infer.bundle import load_bundle
from allograft.report.heat import attention_words
from allograft.study.heat import read_heat

NET = {"encoder": "resnet10_small", "width": 0.0625}
DENSE = {"decoder": "unet"}
UMS = {"procedure": "ums_rep", "net": DENSE}
SIZE = {2: [32, 32], 3: [16, 32, 32]}
MASKS = ["background", "bright", "dark"]


def synthetic_table(folder: Path, dims: int) -> Path:
    """Write images with masks; every third mask and every fourth class is missing, never both."""
    make = synthetic_volumes_with_masks if dims == 3 else synthetic_pictures_with_masks
    table = make(folder, patients=12)
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    names = head.split(",")
    lines = [f"{head},kind,round,large"]
    for i, row in enumerate(rows):
        cells = dict(zip(names, row.split(","), strict=True))
        if i % 3 == 2:
            cells["mask"] = ""
        lines.append(
            ",".join([*cells.values(), "" if i % 4 == 3 and i % 3 != 2 else "ab"[i % 2], str(i % 2), str(i // 6)])
        )
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def study(folder: Path, dims: int, data: dict[str, Any], recipes: list[dict[str, Any]], **fields: Any) -> Path:
    table = synthetic_table(folder, dims)
    text = {
        "study": "several tasks, synthetic",
        "baseline": recipes[0]["name"],
        "datasets": [{"name": "cases", "path": str(table), "image": "image", "group": "patient_id", **data}],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard", "size": SIZE[dims]},
        "augment": {"preset": "light"},
        "common": {"net": {**NET, "dims": dims}, "budget": {"steps": 4, "batch": 4, "evals": 1}, "optim": {"lr": 0.01}},
        "recipes": recipes,
        **fields,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path) -> dict[str, Path]:
    """Run a study; return the folder of every recipe's one run."""
    out = path.parent / "out"
    tiny.run_json("study", path, "--out", out, "--workers", 1)
    found = {}
    for outcome in (out / "runs").glob("*/outcome.json"):
        one = json.loads(outcome.read_text())
        assert one.get("status", "done") == "done", one
        found[one["key"]["recipe"]] = outcome.parent
    return found


def stages(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "stages.json").read_text()))


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


@pytest.mark.parametrize("dims", [2, 3])
def test_a_classification_learns_beside_masks_and_denoising(dims: int, tmp_path: Path) -> None:
    data = {"label": "kind", "also": {"lesion": {"mask": "mask", "task": {"classes": MASKS}}}}
    every = {"also": ["lesion"], "denoise": 0.2}
    recipes = [
        {"name": "plain"},
        {"name": "fixed", "objective": {"multi_task": {**every, "weights": {"lesion": 0.5}}}, **UMS},
        {"name": "uncertain", "objective": {"multi_task": {**every, "weighting": "uncertainty"}}, **UMS},
        {"name": "by-turns", "objective": {"multi_task": {**every, "weighting": "alternating"}}, **UMS},
        {"name": "frozen", "objective": {"multi_task": {"also": ["lesion"]}}, "tuning": "frozen", **UMS},
    ]
    found = run(study(tmp_path, dims, data, recipes))
    assert set(found) == {recipe["name"] for recipe in recipes}
    first, second = stages(found["uncertain"])
    assert (first["stage"], second["stage"]) == ("representation", "finetune")
    logged = first["history"]["rows"][-1]["train"]
    assert {"task_label", "task_lesion", "task_denoise"} <= set(logged)
    heads = {e["stage"] for e in second["plan"]["entries"] if e["stage"].startswith("head.")}
    assert heads == {"head.label", "head.lesion", "head.denoise"}
    assert {e["action"] for e in second["plan"]["entries"] if e["target"].startswith("encoder.")} == {"copy"}
    net, _ = load_bundle(found["fixed"] / "model", parts)
    assert set(net.heads) == {"label"}
    assert net.decoder is None
    assert (found["fixed"] / "heat").exists()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_segmentation_learns_beside_classes_of_the_whole_image(dims: int, tmp_path: Path) -> None:
    data = {"mask": "mask", "task": {"classes": MASKS}, "also": {"kind": {"label": "kind"}}}
    objective = {"multi_task": {"also": ["kind"], "denoise": 0.2}}
    recipes = [{"name": "plain", "net": DENSE}, {"name": "ums", "objective": objective, **UMS}]
    found = run(study(tmp_path, dims, data, recipes, patches={"size": SIZE[dims], "overlap": 0}))
    logged = stages(found["ums"])[1]["history"]["rows"][-1]["train"]
    assert {"task_kind", "task_denoise"} < set(logged)
    net, _ = load_bundle(found["ums"] / "model", parts)
    assert len(net.heads) == 1
    assert net.decoder is not None


@pytest.mark.parametrize(("dims", "of"), [(2, "tiles"), (3, "tiles"), (3, "slices")])
def test_several_labels_of_a_bag_and_where_each_network_looked(dims: int, of: str, tmp_path: Path) -> None:
    bag = {"of": of, **({"size": 16} if of == "tiles" else {})}
    data = {"label": ["round", "large"]}
    recipes = [
        {"name": "attention", "net": {"pool": "gated_attention", "bag": bag}},
        {"name": "noisy-or", "net": {"pool": "noisy_or", "bag": {**bag, "level": "instance"}}},
        {"name": "frozen", "net": {"pool": "lse", "bag": {**bag, "r": 4.0}}, "tuning": "frozen"},
    ]
    path = study(tmp_path, dims, data, recipes, augment={"preset": "none"})
    found = run(path)
    assert any("features were computed once" in note for s in stages(found["frozen"]) for note in s["notes"])
    maps = sorted((found["attention"] / "heat").glob("*.npz"))
    one = read_heat(maps[0])
    grid = {"slices": (16,), "tiles": (2, 2) if dims == 2 else (1, 2, 2)}[of]
    assert one.grid == grid
    assert one.shares.sum() == pytest.approx(1, abs=1e-5)
    assert not len(read_heat(sorted((found["noisy-or"] / "heat").glob("*.npz"))[0]).shares)
    page = (path.parent / "out" / "report.html").read_text(encoding="utf-8")
    assert f"How attention weighs case {maps[0].stem}: {attention_words(one)}" in page
    net, bundle = load_bundle(found["attention"] / "model", parts)
    x = torch.randn(2, net.shape.in_channels, *bundle.size)
    assert net(x).logits["label"].shape == (2, 2)


@pytest.mark.parametrize(("dims", "of"), [(2, "tiles"), (3, "slices")])
def test_weights_of_pictures_are_copied_into_the_encoder_of_tiles_and_slices(
    dims: int, of: str, tmp_path: Path
) -> None:
    card = tiny.random_card(tmp_path / "card", 2)
    net = {"encoder": "cbr_tiny", "width": tiny.WIDTH, "pool": "attention", "bag": {"of": of}}
    recipes = [{"name": "from-pictures", "source": str(card), "start": "full", "net": net}]
    fields = {
        "preprocess": {"size": SIZE[dims], **({"intensity": "window", "low": 0, "high": 255} if dims == 3 else {})}
    }
    found = run(study(tmp_path, dims, {"label": "kind"}, recipes, **fields))
    (stage,) = stages(found["from-pictures"])
    entries = [e for e in stage["plan"]["entries"] if e["target"].startswith("encoder.")]
    assert {e["action"] for e in entries} == {"copy"}
    assert "stages compute what the source does" in stage["proof"]


@pytest.mark.parametrize(
    ("data", "recipe", "said"),
    [
        ({"label": "kind"}, {"objective": {"multi_task": {"also": ["lesion"]}}, **UMS}, "no further label"),
        ({"label": "kind"}, {"objective": {"multi_task": {"denoise": 0.1}}, "procedure": "ums_rep"}, "needs a decoder"),
        ({"label": "kind"}, {"procedure": "ums_rep"}, "multi_task"),
        ({"label": "kind", "also": {"lesion": {}}}, {}, "either a label column or a mask column"),
        ({"label": "kind"}, {"net": {"pool": "max"}}, "bag: {of: tiles"),
        (
            {"label": "kind"},
            {"net": {"pool": "noisy_or", "bag": {"of": "tiles"}}},
            "set bag.level: instance",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    data: dict[str, Any], recipe: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = study(tmp_path, 2, data, [{"name": "wrong", **recipe}])
    result = tiny.run("study", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code != 0
    assert said in " ".join(f"{result.output} {result.exception}".split())
    assert not any((tmp_path / "out" / "runs").glob("*/outcome.json"))
