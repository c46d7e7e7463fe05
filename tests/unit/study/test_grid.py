"""The study file: what changes a run's id, how `common` merges, and what is said of mistakes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from allograft.core.errors import ConfigError
from allograft.study.grid import Search, Study, read_study, study_from

RECIPES = [
    {"name": "scratch", "start": "scratch"},
    {"name": "gabor", "start": "gabor", "optim": {"lr": 0.01}},
]
STUDY: dict[str, Any] = {
    "study": "s",
    "datasets": [{"name": "d", "path": "d.csv"}],
    "baseline": "scratch",
    "seeds": [0, 1],
    "common": {"net": {"encoder": "cbr_tiny"}, "budget": {"steps": 10}},
    "recipes": RECIPES,
}
IDENTITY: dict[str, Any] = {"d": {"data": "x", "weights": {}, "device": {"threads": 1}}}


def changed(**fields: Any) -> Study:
    return study_from({**copy.deepcopy(STUDY), **fields}, where="study.yaml")


def ids(study: Study, identity: dict[str, Any] | None = None) -> dict[tuple[Any, ...], str]:
    keys = study.keys(
        identity or IDENTITY, {"d": [(fold, share) for fold in (0, 1) for share in study.label_fractions]}
    )
    return {(k.recipe, k.fold, k.seed, k.label_fraction): k.id for k in keys}


BASE = ids(changed())


def with_first(**fields: Any) -> list[dict[str, Any]]:
    return [{**RECIPES[0], **fields}, RECIPES[1]]


def test_every_cell_of_the_grid_has_its_own_id() -> None:
    assert len(BASE) == 2 * 2 * 2 == len(set(BASE.values()))


@pytest.mark.parametrize(
    "fields",
    [
        {"recipes": RECIPES[::-1]},
        {"recipes": [*RECIPES, {"name": "third", "start": "gabor"}]},
        {"seeds": [1, 0, 5]},
        {"label_fractions": [0.5, 1.0]},
        {"study": "renamed"},
        {"baseline": "gabor"},
        {"margin": 0.5},
        {"accept_licence": ["x"]},
        {"test_folds": 2},
    ],
    ids=str,
)
def test_what_changes_no_number_leaves_every_id(fields: dict[str, Any]) -> None:
    found = ids(changed(**fields))
    assert {cell: found[cell] for cell in BASE} == BASE


def test_renaming_a_recipe_leaves_its_ids() -> None:
    found = ids(changed(recipes=with_first(name="plain"), baseline="plain"))
    assert [found["plain", *cell[1:]] for cell in BASE if cell[0] == "scratch"] == [
        name for cell, name in BASE.items() if cell[0] == "scratch"
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "gabor"},
        {"tuning": {"last_k": {"k": 2}}},
        {"tuning": "frozen"},
        {"optim": {"weight_decay": 0.5}},
        {"budget": {"batch": 4}},
        {"net": {"width": 0.5}},
        {"augment": "none"},
    ],
    ids=str,
)
def test_any_setting_of_a_recipe_changes_its_ids_and_no_other_s(fields: dict[str, Any]) -> None:
    found = ids(changed(recipes=with_first(**fields)))
    same = {cell for cell in BASE if found[cell] == BASE[cell]}
    assert same == {cell for cell in BASE if cell[0] == "gabor"}


@pytest.mark.parametrize(
    "fields",
    [
        {"folds": 4},
        {"primary_metric": "log_loss"},
        {"preprocess": {"size": [8, 8]}},
        {"augment": "strong"},
        {"search": {"lrs": [0.1]}},
        {"search": {"share": 0.2}},
        {"select_by": "loss"},
    ],
    ids=str,
)
def test_shared_settings_change_every_id(fields: dict[str, Any]) -> None:
    assert not set(ids(changed(**fields)).values()) & set(BASE.values())


@pytest.mark.parametrize("part", ["data", "weights", "device"])
def test_other_data_weights_or_machine_settings_change_every_id(part: str) -> None:
    other = {"d": {**IDENTITY["d"], part: {"other": 1}}}
    assert not set(ids(changed(), other).values()) & set(BASE.values())


def test_common_is_merged_into_settings_and_replaced_in_methods() -> None:
    study = changed(
        common={
            "net": {"encoder": "cbr_tiny", "width": 0.5},
            "budget": {"steps": 10, "batch": 4},
            "optim": {"name": "sgd"},
            "start": {"gabor": {"rest": "fresh"}},
        },
        recipes=[{"name": "scratch", "start": "scratch", "budget": {"steps": 20}}, {"name": "b", "optim": {"lr": 0.1}}],
    )
    one, two = study.recipes
    assert (one.budget.steps, one.budget.batch, one.net.width, one.start.name) == (20, 4, 0.5, "scratch")
    assert (two.optim.name, two.optim.lr, two.budget.steps, two.start.name) == ("sgd", 0.1, 10, "gabor")


def test_a_file_and_the_same_data_are_one_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    assert read_study(path) == changed()
    assert Study.model_validate(changed().model_dump(mode="json")) == changed()


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"sead": [1]}, "study.yaml, sead", 'unknown field "sead". Did you mean "seeds"?'),
        ({"recipes": with_first(budget={"stepz": 3})}, "recipes[0].budget.stepz", 'Did you mean "steps"?'),
        ({"recipes": with_first(strat="full")}, "recipes[0].strat", 'Did you mean "start"?'),
        ({"recipes": with_first(net={"widht": 2})}, "recipes[0].net.widht", 'Did you mean "width"?'),
        ({"recipes": with_first(optim={"lrr": 2})}, "recipes[0].optim.lrr", 'Did you mean "lr"?'),
        ({"datasets": [{"name": "d", "path": "x", "groop": "p"}]}, "datasets[0].groop", 'Did you mean "group"?'),
        ({"datasets": [{"name": "d", "path": "x", "task": {"knd": "p"}}]}, "datasets[0].task.knd", '"kind"'),
        ({"search": {"share": 0.1, "rates": []}}, "search.rates", "Known: lrs, share."),
        ({"preprocess": {"sise": [8, 8]}}, "preprocess.sise", 'Did you mean "size"?'),
        ({"common": {"budgt": {"steps": 3}}}, "recipes[0].budgt", 'Did you mean "budget"?'),
        ({"recipes": with_first(tuning="frozn")}, "recipes[0].tuning", 'no tuning "frozn". Did you mean "frozen"?'),
        ({"recipes": with_first(start="sratch")}, "recipes[0].start", 'Did you mean "scratch"?'),
        (
            {"recipes": with_first(start={"gabor": {"ration": 1}})},
            "recipes[0].start",
            'unknown field "ration". Known: ',
        ),
        ({"recipes": with_first(tuning={"last_k": {"k": 0}})}, "recipes[0].tuning", "k"),
        ({"recipes": with_first(start=["full"])}, "recipes[0].start", "one name with its settings"),
        ({"recipes": with_first(start="full")}, "recipes[0]", 'start "full" needs a source'),
        ({"recipes": with_first(source="x")}, "recipes[0]", 'start "scratch" uses no weights'),
        ({"recipes": with_first(net={"encoder": None})}, "recipes[0].net.encoder", "string"),
        ({"recipes": [RECIPES[0], RECIPES[0]]}, "study.yaml", 'two recipe entries are called "scratch"'),
        ({"datasets": STUDY["datasets"] * 2}, "study.yaml", 'two datasets entries are called "d"'),
        ({"baseline": "scrach"}, "study.yaml", 'Did you mean "scratch"?'),
        ({"seeds": [1, 1]}, "study.yaml", "seeds must be different"),
        ({"folds": 2}, "study.yaml", "at least 3"),
        ({"label_fractions": [0.0]}, "study.yaml", "(0, 1]"),
        ({"label_fractions": [0.5, 0.5]}, "study.yaml", "label_fractions must be different"),
        ({"recipes": "all"}, "recipes", "got 'all'"),
        ({"recipes": []}, "recipes", "at least 1"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_mistake_is_named_by_place_and_nearest_name(fields: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(**fields)
    assert where in str(caught.value)
    assert says in str(caught.value)


def test_missing_fields_are_named() -> None:
    with pytest.raises(ConfigError, match=r"study\.yaml, baseline: this field is required and missing"):
        study_from({key: value for key, value in STUDY.items() if key != "baseline"}, where="study.yaml")
    with pytest.raises(ConfigError, match="expected fields like study"):
        study_from(["a"], where="study.yaml")


def test_the_search_is_paid_out_of_the_steps() -> None:
    search = Search(lrs=(1e-3, 1e-2), share=0.3)
    assert (search.trial_steps(100), search.training_steps(100)) == (15, 70)
    assert (Search(lrs=()).trial_steps(100), Search(lrs=(1.0,)).training_steps(100)) == (0, 100)
    with pytest.raises(ConfigError, match=r"leave none of 2 to train with"):
        search.training_steps(2)
