"""Domain adaptation: every method's recipe runs through `allograft study`, in each dimension and task it claims.

A method adds its recipes to `RECIPES`. All recipes of one dimension and task share one study, so that data are made,
opened and prepared once. The data are synthetic: the same patients at two sites that look different.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import shared_runs
import tiny_study as tiny
import yaml
from shared_runs import Ran
from synthetic_sites import synthetic_sites

CLASSIFY, SEGMENT = ("classify-2d", "classify-3d"), ("segment-2d", "segment-3d")
EVERY = (*CLASSIFY, *SEGMENT)

TRANSLATE = {"width": 2, "critic_width": 2, "depth": 2}


class Adapted(NamedTuple):
    """A recipe, what it claims, and what the log of its training must hold."""

    recipe: dict[str, Any]
    claims: tuple[str, ...] = EVERY
    logged: tuple[str, ...] = ("loss",)


def voxels(**settings: Any) -> dict[str, Any]:
    """Return a recipe that classifies voxels by their own features."""
    net = {"encoder": "voxel_features", "decoder": "same", "width": 1.0, "dropout": 0.0}
    return {"net": net, "procedure": {"voxel_classifier": {"per_image": 60, "seen": 200, "components": 64, **settings}}}


FEW = {"learn": "both", "select_by": "metric"}

RECIPES: dict[str, Adapted] = {
    "upper": Adapted({"learn": "target"}),
    "few": Adapted({"learn": "few"}),
    "both": Adapted({"learn": "both", "select_by": "metric"}),
    "by-entropy": Adapted({"select_by": "entropy"}),
    "by-importance": Adapted({"select_by": "importance"}),
    "mean-teacher": Adapted({"objective": "mean_teacher"}, logged=("unsupervised",)),
    "dann": Adapted({"objective": {"dann": {"hidden": 16}}}, logged=("domain", "domain_accuracy", "domain_weight")),
    "dann-joint-both": Adapted(
        {"objective": {"dann": {"hidden": 16, "joint_norm": True}}, "learn": "both", "select_by": "metric"},
        logged=("domain",),
    ),
    "dann-inverse": Adapted(
        {"objective": {"dann": {"hidden": 16}}, "optim": {"name": "sgd", "lr": 0.01, "schedule": "inverse"}},
        ("classify-2d",),
        ("domain",),
    ),
    "dann-decoded": Adapted(
        {"objective": {"dann": {"hidden": 16, "level": "decoded"}}}, SEGMENT, logged=("domain_accuracy",)
    ),
    "cdan": Adapted({"objective": {"cdan": {"hidden": 16}}}, logged=("domain", "domain_accuracy")),
    "cdan-random-few": Adapted(
        {"objective": {"cdan": {"hidden": 16, "largest": 0, "random": 32, "entropy": False}}, "learn": "few"},
        logged=("domain",),
    ),
    "dan": Adapted({"objective": "dan"}, logged=("mmd", "domain_weight")),
    "dan-both": Adapted({"objective": {"dan": {"level": "logits"}}, "learn": "both"}, logged=("mmd",)),
    "deep-coral": Adapted({"objective": "deep_coral"}, logged=("coral", "domain_weight")),
    "deep-coral-both": Adapted({"objective": {"deep_coral": {"joint_norm": True}}, "learn": "both"}, logged=("coral",)),
    "minimax-entropy": Adapted({"objective": "minimax_entropy", "learn": "both"}, logged=("entropy",)),
    "minimax-entropy-no-labels": Adapted({"objective": "minimax_entropy"}, ("classify-3d", "segment-2d"), ("entropy",)),
    "distant-feature-fusion": Adapted(
        {"objective": {"distant_feature_fusion": {"width": 4}}, "learn": "few"}, logged=("reconstruction", "mmd")
    ),
    "kmm": Adapted({"procedure": {"kmm": {"bound": 1.2, "epsilon": 0.1}}, "tuning": "frozen"}, CLASSIFY),
    "kmm-fourier-both": Adapted(
        {"procedure": {"kmm": {"features": 64, "bound": 1.2, "epsilon": 0.1}}, "learn": "both"}, CLASSIFY
    ),
    "kliep": Adapted({"procedure": {"kliep": {"folds": 2}}}, CLASSIFY),
    "discriminative-ratio": Adapted({"procedure": "discriminative_ratio"}, CLASSIFY),
    "tca": Adapted({"procedure": {"tca": {"components": 3}}}, CLASSIFY),
    "subspace-alignment": Adapted({"procedure": "subspace_alignment"}, CLASSIFY),
    "coral": Adapted({"procedure": "coral"}, CLASSIFY),
    "coral-joint-both": Adapted({"procedure": {"coral": {"apart": False}}, "learn": "both"}, CLASSIFY),
    "self-ensembling": Adapted({"objective": "self_ensembling"}, logged=("unsupervised", "unsupervised_weight")),
    "self-ensembling-flips": Adapted(
        {"objective": {"self_ensembling": {"moves": ["flip", "rotate90"], "ramp": 0, "hand_on": "student"}}},
        logged=("unsupervised",),
    ),
    "adabn": Adapted({"procedure": "adabn"}),
    "adabn-mixed": Adapted({"procedure": {"adabn": {"mix": 0.5, "passes": 1}}}),
    "tent": Adapted({"procedure": {"tent": {"share": 0.4, "passes": 1}}}, logged=("entropy",)),
    "pnp-adanet": Adapted(
        {"procedure": {"pnp_adanet": {"adapt": {"width": 4, "turns": 2}}}},
        logged=("critics.features", "critics.masks", "module.loss"),
    ),
    "fourier": Adapted(
        {"objective": {"fourier_adaptation": {"beta": 0.1, "begin": 0}}}, logged=("task", "change", "entropy")
    ),
    "histogram-matching": Adapted({"objective": "histogram_matching"}, logged=("change",)),
    "nyul": Adapted({"objective": "nyul", "learn": "both"}, logged=("change",)),
    "nyul-foreground": Adapted({"objective": {"nyul": {"foreground": True, "percents": [5, 50, 95]}}}, ("segment-3d",)),
    "cycle-gan": Adapted(
        {"objective": {"cycle_gan": {**TRANSLATE, "blocks": 1, "pool": 3}}, "select_by": "entropy"},
        logged=("net.change", "generators.cycle", "generators.identity", "discriminators.accuracy"),
    ),
    "cycle-gan-as-the-paper": Adapted(
        {"objective": {"cycle_gan": {**TRANSLATE, "blocks": 1, "residual": False, "plain": 0}}},
        ("classify-2d", "segment-3d"),
        ("generators.adversarial",),
    ),
    "pix2pix": Adapted({"objective": {"pix2pix": {**TRANSLATE, "levels": 3}}}, logged=("net.change", "generators.l1")),
    "bigaug": Adapted({"augment": "bigaug"}),
    "bigaug-weaker": Adapted({"augment": {"preset": "bigaug", "p": 0.3}}, ("classify-3d", "segment-2d")),
    "voxels": Adapted(voxels(kernel_map="exact"), SEGMENT, ()),
    "voxels-kl": Adapted(voxels(weights="kl"), SEGMENT, ()),
    "voxels-bhattacharyya": Adapted(voxels(weights="bhattacharyya"), ("segment-2d",), ()),
    "voxels-euclid": Adapted(voxels(weights="euclid"), ("segment-3d",), ()),
    "voxels-mmd": Adapted(voxels(weights="mmd", kernel_map="nystroem"), SEGMENT, ()),
    **{f"voxels-{m}": Adapted({**voxels(model=m), **FEW}, SEGMENT, ()) for m in ("wsvm", "rsvm", "asvm", "tradaboost")},
    "voxels-kernel-sequential": Adapted(voxels(model={"kernel_learning": {"mode": "sequential"}}), SEGMENT, ()),
    "voxels-kernel-joint": Adapted(voxels(model="kernel_learning"), SEGMENT, ()),
}


def recipes(case: str) -> list[dict[str, Any]]:
    """Return training on the source alone and every recipe that claims a case."""
    return [{"name": "plain"}, *({"name": n, **one.recipe} for n, one in RECIPES.items() if case in one.claims)]


def study(case: str, folder: Path, chosen: list[dict[str, Any]], **fields: Any) -> Path:
    """Write synthetic data of two sites and a study of a case."""
    dims, dense = (3 if case.endswith("3d") else 2), case in SEGMENT
    table = synthetic_sites(folder / "cases", dims=dims)
    columns = {"path": str(table), "image": "image", "group": "patient_id", "domain": "site"}
    columns |= {"mask": "mask", "task": {"classes": ["background", "bright", "dark"]}} if dense else {"label": "label"}
    net = {"encoder": "resnet10_small", "dims": dims, "width": 0.0625, "dropout": 0.2}
    text = {
        "study": "synthetic sites",
        "baseline": chosen[0]["name"],
        "datasets": [{"name": "cases", **columns, "shift": {"target": ["siteB"], "labels": 2}}],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard", **({} if dense else {"size": [16] * dims})},
        **({"patches": {"size": [16] * dims, "overlap": 0}} if dense else {}),
        "augment": {"preset": "light"},
        "common": {
            "net": {**net, **({"decoder": "unet"} if dense else {})},
            "budget": {"steps": 3, "batch": 4, "evals": 1},
            "optim": {"lr": 0.01},
        },
        "recipes": chosen,
        **fields,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def ran(case: str, factory: pytest.TempPathFactory) -> Ran:
    return shared_runs.ran("domains", case, factory, lambda folder: study(case, folder, recipes(case)))


@pytest.mark.parametrize("case", EVERY)
def test_every_recipe_finishes_and_is_in_the_report(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran(case, tmp_path_factory)
    assert found.result["code"] == 0, found.result["all"]
    names, said = [recipe["name"] for recipe in recipes(case)], json.loads(found.result["said"])
    assert said["runs"] == {"finished": len(names), "planned": len(names)}
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert all(name in page for name in names)


@pytest.mark.parametrize(("name", "case"), [(n, case) for n, one in RECIPES.items() for case in one.claims])
def test_the_recipe_trains_by_its_own_objective(name: str, case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = ran(case, tmp_path_factory).of(name)
    outcome = json.loads((folder / "outcome.json").read_text())
    assert outcome.get("status", "done") == "done"
    stages = json.loads((folder / "stages.json").read_text())
    logged = {key for stage in stages for row in stage["history"]["rows"] for key in row["train"]}
    assert set(RECIPES[name].logged) <= logged


def test_runs_are_judged_on_target_cases_and_told_apart_on_the_source(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = ran("classify-2d", tmp_path_factory)
    private = json.loads((found.out / "private" / "ids.json").read_text())["cases"]
    for part, site in (("test", "siteB"), ("source", "siteA")):
        frame = pd.read_parquet(found.of("plain") / f"predictions-{part}.parquet")
        assert len(frame)
        assert all(site in private[case] for case in frame["case"])


@pytest.mark.parametrize("case", CLASSIFY)
def test_distant_images_may_be_an_auxiliary_data_set(case: str, tmp_path: Path) -> None:
    dims = 3 if case.endswith("3d") else 2
    table = synthetic_sites(tmp_path / "distant", dims=dims, patients=18)
    fused = {"on": ["distant"], "width": 4}
    chosen = [
        {"name": "few", "learn": "few"},
        {"name": "dff", "learn": "few", "objective": {"distant_feature_fusion": fused}},
    ]
    distant = {"name": "distant", "path": str(table), "image": "image", "label": "label", "group": "patient_id"}
    found = tiny.run(
        "study", study(case, tmp_path, chosen, auxiliary=[distant]), "--out", tmp_path / "out", "--workers", 1, "--json"
    )
    assert found.exit_code == 0, f"{found.output}\n{found.exception!r}"
    assert json.loads(found.stdout)["runs"] == {"finished": 2, "planned": 2}


@pytest.mark.parametrize("case", EVERY)
def test_the_report_says_what_is_recovered_of_the_shift(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran(case, tmp_path_factory)
    said = json.loads(found.result["said"])
    shift, names = said["tables"][0]["shift"], {recipe["name"] for recipe in recipes(case)}
    assert (shift["source"], shift["target"], shift["few"]) == (["siteA"], ["siteB"], 2)
    assert (shift["source_only"], shift["target_supervised"]) == ("plain", "upper")
    uppers = {name for name, one in RECIPES.items() if one.recipe.get("learn") == "target"}
    assert {row["recipe"] for row in shift["recovered"]} == names - uppers - {"plain"}
    assert all(row["verdict"] == "cannot tell" and row["share"] is None for row in shift["recovered"])  # 3 patients
    assert [(d["name"], d["side"], d["n_units"]) for d in shift["domains"]] == [
        ("siteB", "target", 3),
        ("siteA", "source", 3),
    ]
    assert all(set(d["estimates"]) == names for d in shift["domains"])
    assert shift["selections"]["by-entropy"] == "entropy, blind"
    assert {one["recipe"] for one in shift["maps"]} == names
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert 'id="domains"' in page
    assert "siteA to siteB" in page


def test_feature_maps_show_held_out_cases_of_both_sides_under_pseudonyms(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = ran("classify-2d", tmp_path_factory)
    private = json.loads((found.out / "private" / "ids.json").read_text())["cases"]
    points = pd.read_parquet(found.of("plain") / "feature_map.parquet")
    trained = pd.read_parquet(found.of("plain") / "predictions-test.parquet")
    assert set(points["side"]) == {"source", "target"}
    assert set(points["label"]) == {"flat", "round"}
    assert set(trained["case"]) <= set(points["case"])
    for case, domain, side in zip(points["case"], points["domain"], points["side"], strict=True):
        assert domain in private[case]
        assert domain == {"source": "siteA", "target": "siteB"}[side]
    assert points[["x_before", "y_before"]].to_numpy().std() > 0
    same = pd.read_parquet(found.of("mean-teacher") / "feature_map.parquet")
    assert list(same["case"]) == list(points["case"])  # recipes are looked at on the same cases
    assert same[["x_before", "y_before"]].equals(points[["x_before", "y_before"]])  # and began alike


def test_each_domain_left_out_in_turn_is_a_table_and_a_summary_over_them(tmp_path: Path) -> None:
    file = study("classify-2d", tmp_path, [{"name": "plain"}, {"name": "upper", "learn": "target"}])
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    text["datasets"][0]["shift"] = {"target": ["siteA", "siteB"], "leave_one_out": True}
    file.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    result = tiny.run("study", file, "--out", tmp_path / "out", "--workers", 1, "--json")
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    said = json.loads(result.stdout)
    assert {t["dataset"] for t in said["tables"]} == {"cases-to-siteA", "cases-to-siteB"}
    (left,) = said["left_out"]
    assert (left["dataset"], sorted(left["domains"]), left["source_only"]) == ("cases", ["siteA", "siteB"], "plain")
    for table in said["tables"]:
        (domain,) = table["shift"]["target"]
        for recipe in table["recipes"]:
            assert left["values"][recipe["name"]][domain] == recipe["mean"]
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert "every domain left out in turn" in page
    shown = tiny.run("compare", tmp_path / "out")
    assert "each domain left out in turn" in shown.output
    assert "Source-only is plain, the baseline." in " ".join(shown.output.split())
