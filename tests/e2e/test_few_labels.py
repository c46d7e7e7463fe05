"""Learning with few labels: every method's recipe runs through `allograft study`, in each dimension and task it claims.

A method adds its recipes to `RECIPES`. All recipes of one dimension and task share one study, so that data are made,
opened and prepared once. Pictures of the 2-D classification are real, everything else is synthetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import shared_runs
import tiny_study as tiny
import yaml
from shared_runs import Ran
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks

from allograft.catalog import parts
from allograft.infer.bundle import load_bundle
from allograft.study.summarise import summarise

CLASSIFY, SEGMENT = ("classify-2d", "classify-3d"), ("segment-2d", "segment-3d")
EVERY = (*CLASSIFY, *SEGMENT)
SMALL = {"encoder": "resnet10_small", "width": 0.0625}
TILES = {**SMALL, "bag": {"of": "tiles", "size": 4}}
DENSE = {**SMALL, "decoder": "unet"}


class Few(NamedTuple):
    """A recipe, what it claims, and what the log of its training must hold."""

    recipe: dict[str, Any]
    claims: tuple[str, ...] = EVERY
    logged: tuple[str, ...] = ("unsupervised", "unsupervised_weight")


RECIPES: dict[str, Few] = {
    "entropy": Few({"objective": "entropy_minimisation"}),
    "mean-teacher": Few({"objective": {"mean_teacher": {"hand_on": "teacher"}}}),
    "ua-mt": Few({"objective": {"ua_mt": {"passes": 2}}}, logged=("unsupervised", "sure")),
    "ict": Few({"objective": "ict"}),
    "fix-match": Few({"objective": {"fix_match": {"threshold": 0.4}}}, logged=("unsupervised", "accepted")),
    "fix-match-joint": Few({"objective": {"fix_match": {"joint_norm": True, "unlabelled_batch": 3}}}),
    "r-drop": Few({"objective": "r_drop"}),
    "cps": Few({"objective": "cps"}, logged=("cross", "agreement", "unsupervised_weight")),
    "cross-teaching": Few(
        {"objective": {"cross_teaching": {"partner": {"encoder": "genesis", "decoder": "unet", "width": 0.0625}}}},
        logged=("cross", "task_other"),
    ),
    "deep-adversarial": Few(
        {"objective": {"deep_adversarial": {"width": 4}}}, logged=("net.unsupervised", "discriminator.accuracy")
    ),
    "cct": Few({"objective": "cct"}),
    "cct-main-joint": Few({"objective": {"cct": {"supervise": "main", "joint_norm": True}}}, ("segment-2d",)),
    "urpc": Few({"objective": "urpc"}),
    "billion-scale": Few({"procedure": {"billion_scale": {"top": 3}}}, logged=("loss",)),
    "billion-scale-two": Few({"procedure": {"billion_scale": {"per_image": 2}}}, CLASSIFY, logged=("loss",)),
    "chain": Few({"procedure": {"teacher_student_chain": {"rounds": 2}}}, logged=("loss",)),
    "chain-warm": Few({"procedure": {"teacher_student_chain": {"rounds": 1, "warm": True}}}, logged=("loss",)),
    "noisy-student": Few(
        {"procedure": {"noisy_student": {"rounds": 2, "drop_path": 0.0, "min_confidence": 0.1}}}, logged=("pseudo",)
    ),
    "noisy-student-larger": Few(
        {
            "procedure": {
                "noisy_student": {
                    "rounds": 1,
                    "student": {"encoder": "resnet10_small", "decoder": "unet", "width": 0.125},
                    "soft": False,
                    "ratio": 3,
                    "min_confidence": 0.1,
                }
            }
        },
        ("segment-2d",),
        logged=("pseudo",),
    ),
    **{
        f"active-{name}": Few(
            {"procedure": {"active_learning": {"rounds": 2, "per_round": 1, "acquisition": name}}}, claims, ("loss",)
        )
        for name, claims in {
            "random": EVERY,
            "entropy": EVERY,
            "margin": ("classify-2d", "segment-3d"),
            "bald": EVERY,
            "k_centre": ("classify-3d", "segment-2d"),
            "medal": EVERY,
            "o_medal": ("classify-2d", "segment-3d"),
        }.items()
    },
    "active-orb-online": Few(
        {"procedure": {"active_learning": {"rounds": 2, "per_round": 1, "start": "orb", "online": 0.5}}},
        logged=("loss",),
    ),
    "active-reset": Few(
        {"procedure": {"active_learning": {"rounds": 1, "continue_weights": False}}}, ("segment-2d",), ("loss",)
    ),
    "mil-tiles": Few({"net": {**TILES, "pool": "gated_attention"}}, CLASSIFY, logged=("task",)),
    "mil-tiles-judged": Few(
        {"net": {**SMALL, "pool": "top_k", "bag": {"of": "tiles", "size": 4, "level": "instance", "skip_blank": True}}},
        CLASSIFY,
        logged=("task",),
    ),
    "mil-slices": Few(
        {"net": {**SMALL, "pool": "attention", "bag": {"of": "slices"}}}, ("classify-3d",), logged=("task",)
    ),
    "ums-rep": Few(
        {"objective": {"multi_task": {"denoise": 0.3}}, "procedure": "ums_rep", "net": DENSE},
        logged=("task_label", "task_denoise"),
    ),
}


def recipes(case: str) -> list[dict[str, Any]]:
    """Return supervised training and every recipe that claims a case."""
    return [{"name": "plain"}, *({"name": n, **few.recipe} for n, few in RECIPES.items() if case in few.claims)]


def study(case: str, folder: Path, chosen: list[dict[str, Any]], **fields: Any) -> Path:
    """Write data and a study of a case."""
    dims = 3 if case.endswith("3d") else 2
    budget = {"steps": 3, "batch": 4, "evals": 1}
    if case in CLASSIFY:
        data = tiny.synthetic_volumes(folder) if dims == 3 else tiny.real_pictures(folder)
        common = {"net": {"encoder": "cbr_tiny", "width": tiny.WIDTH, "dims": dims, "dropout": 0.2}, "budget": budget}
        own = {"test_folds": 1, "label_fractions": [0.5], "augment": {"preset": "light"}, "common": common}
        return tiny.study_file(data, chosen, **{**own, **fields})
    make = synthetic_volumes_with_masks if dims == 3 else synthetic_pictures_with_masks
    columns = {
        "path": str(make(folder / "cases", patients=12)),
        "image": "image",
        "mask": "mask",
        "group": "patient_id",
    }
    net = {"encoder": "resnet10_small", "decoder": "unet", "dims": dims, "width": 0.0625, "dropout": 0.2}
    text = {
        "study": "few labels, synthetic masks",
        "baseline": chosen[0]["name"],
        "datasets": [{"name": "cases", **columns, "task": {"classes": ["background", "bright", "dark"]}}],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "label_counts": [2],
        "preprocess": {"intensity": "standard", **({"spacing": "median"} if dims == 3 else {})},
        "patches": {"size": [16, 16, 16] if dims == 3 else [32, 32], "overlap": 0},
        "augment": {"preset": "light"},
        "common": {"net": net, "budget": budget, "optim": {"lr": 0.01}},
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
    return shared_runs.ran("few-labels", case, factory, lambda folder: study(case, folder, recipes(case)))


@pytest.mark.parametrize("case", EVERY)
def test_every_recipe_finishes_and_is_in_the_report(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran(case, tmp_path_factory)
    assert found.result["code"] == 0, found.result["all"]
    names, said = [recipe["name"] for recipe in recipes(case)], json.loads(found.result["said"])
    assert said["runs"] == {"finished": len(names), "planned": len(names)}
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert all(name in page for name in names)


@pytest.mark.parametrize(("name", "case"), [(n, case) for n, few in RECIPES.items() for case in few.claims])
def test_the_recipe_trains_by_its_own_objective(name: str, case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = ran(case, tmp_path_factory).of(name)
    outcome = json.loads((folder / "outcome.json").read_text())
    assert outcome.get("status", "done") == "done"
    stages = json.loads((folder / "stages.json").read_text())
    logged = {key for stage in stages for row in stage["history"]["rows"] for key in row["train"]}
    assert set(RECIPES[name].logged) <= logged


@pytest.mark.parametrize("case", EVERY)
def test_every_round_of_pseudo_labels_is_told(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran(case, tmp_path_factory)
    (table,) = summarise(found.out).tables
    told = {(one.recipe, one.round): one for one in table.rounds}
    assert {"billion-scale", "chain", "noisy-student"} <= {recipe for recipe, _ in told}
    assert ("noisy-student", 2) in told
    for one in told.values():
        assert one.agreement is not None
        assert 0 <= one.agreement <= 1
        assert sum(one.classes.values()) == pytest.approx(1)
        assert 0 < one.kept <= 1
    assert told["chain", 1].validation is not None
    assert "pseudo-labels by round" in (found.out / "report.html").read_text(encoding="utf-8")


def test_a_larger_student_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran("segment-2d", tmp_path_factory)
    kept = {
        name: load_bundle(found.of(name) / "model", parts)[1].net for name in ("noisy-student", "noisy-student-larger")
    }
    assert [net.width for net in kept.values()] == [0.0625, 0.125]
    assert all(net.dropout == 0.5 for net in kept.values())


@pytest.mark.parametrize("case", ["classify-2d", "segment-3d"])
def test_without_unlabelled_cases_the_error_says_what_to_do(case: str, tmp_path: Path) -> None:
    fields = {"label_counts": []} if case in SEGMENT else {"label_fractions": [1.0]}
    file = study(case, tmp_path, [{"name": "plain"}, {"name": "ict", "objective": "ict"}], **fields)
    result = tiny.run("study", file, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code != 0
    said = " ".join(f"{result.output} {result.exception}".split())
    assert "every training case is labelled" in said
    assert "label_fractions below 1" in said
    assert not (tmp_path / "out" / "runs").exists() or not any((tmp_path / "out" / "runs").glob("*/outcome.json"))
