"""Pruning: what is left out, what never is, that runs keep their names, and the order within a seed."""

from __future__ import annotations

import pytest

from allograft.core.errors import ConfigError
from allograft.study.estimators import ESTIMATORS, chosen
from allograft.study.grid import Study, study_from
from allograft.study.headline import pruned_words
from allograft.study.outcome import RunKey
from allograft.study.prune import Prune
from allograft.study.pruning import Chosen, left_out
from allograft.study.scores import DataScores, StartScore, Value
from allograft.study.summary import Pruned

NAMES = ("scratch", "a-full", "a-probe", "b", "c", "d")
SOURCE = "mobilenetv2_100-imagenet"


def study(**fields):
    net = {"encoder": "timm:mobilenetv2_100"}
    recipes = [{"name": "scratch", "start": "scratch"}]
    tunings = ("full", "frozen", "last_k", "bias_only", "bn_only")
    recipes += [
        {"name": name, "start": "full", "source": SOURCE, "tuning": tuning}
        for name, tuning in zip(NAMES[1:], tunings, strict=True)
    ]
    data = {
        "study": "s",
        "datasets": [{"name": "d1", "path": "x.csv"}],
        "baseline": "scratch",
        "common": {"net": net},
        "recipes": recipes,
        "seeds": [0, 1],
        **fields,
    }
    return study_from(data, where="here")


def start(names, value, source="w", reason=""):
    return StartScore(
        recipes=names,
        start="full",
        source=source,
        encoder="e",
        values={"logme": Value(value=value, reason=reason)},
    )


def table(*starts):
    ranked = sorted(starts, key=lambda one: -(one.values["logme"].value or -9))
    ranked = [one.model_copy(update={"ranks": {"logme": i + 1}}) for i, one in enumerate(ranked)]
    return DataScores(
        dataset="d1", label_fraction=1.0, cases=20, units=5, unit="patient", starts=tuple(ranked), blind=True
    )


SCORED = table(
    start(("scratch",), -0.9, source=None), start(("a-full", "a-probe"), -0.5), start(("b",), -0.4), start(("c",), -0.6)
)


def names_left_out(scored=SCORED, begun=frozenset(), **fields):
    found = study(prune={"top_k": 1, **fields})
    return [one.recipe for one in left_out(found, found.prune, scored, set(begun))]


def test_all_recipes_of_a_start_beyond_the_first_are_left_out_with_the_rank():
    found = study(prune={"top_k": 1})
    left = left_out(found, found.prune, SCORED, set())
    assert [one.recipe for one in left] == ["a-full", "a-probe", "c"]
    assert left[0].reason == "not run: pruned by LogME rank 2 of 3 on 20 training cases"
    assert names_left_out(top_k=2) == ["c"]
    assert names_left_out(top_k=3) == []


def test_baseline_kept_scratch_begun_and_unscored_recipes_are_never_left_out():
    assert names_left_out(keep=["c"]) == ["a-full", "a-probe"]
    assert names_left_out(begun={("d1", "a-full")}) == ["a-probe", "c"]
    unscored = table(start(("b",), -0.4), start(("c",), None, reason="no value"))
    assert names_left_out(unscored) == []
    found = study(baseline="c", prune={"top_k": 1})
    assert "c" not in [one.recipe for one in left_out(found, found.prune, SCORED, set())]
    worst_random = table(start(("b",), -0.4), start(("scratch",), -5.0, source=None))
    assert names_left_out(worst_random) == []


def test_a_recipe_whose_procedure_trains_the_encoder_before_is_never_left_out():
    found = study(prune={"top_k": 1})
    recipe = found.recipe("c")

    class Other:
        name = "pretrain"

    other = recipe.model_copy(update={"procedure": Other()})
    changed = found.model_copy(update={"recipes": tuple(other if r.name == "c" else r for r in found.recipes)})
    assert "c" not in [one.recipe for one in left_out(changed, found.prune, SCORED, set())]


def test_runs_keep_their_names_whatever_prune_says():
    cells = {"d1": [(0, 1.0)]}
    plain, pruned = study(), study(prune={"top_k": 1, "order": True, "keep": ["c"]})
    assert list(plain.keys({"d1": {}}, cells)) == list(pruned.keys({"d1": {}}, cells))


def keys():
    return [
        RunKey(id=f"{name}{fold}{seed}", recipe=name, dataset="d1", fold=fold, seed=seed, label_fraction=1.0)
        for seed in (0, 1)
        for fold in (0, 1)
        for name in ("scratch", "b", "c")
    ]


def test_the_most_promising_run_first_within_each_seed_and_nothing_is_lost():
    ordered = Chosen(order={"d1": ("c", "b", "scratch")}).runs(keys())
    assert sorted(k.id for k in ordered) == sorted(k.id for k in keys())
    assert [k.seed for k in ordered] == [0] * 6 + [1] * 6
    assert [k.recipe for k in ordered[:6]] == ["c", "c", "b", "b", "scratch", "scratch"]
    left = Chosen(pruned=(Pruned(recipe="b", dataset="d1", reason="r"),)).runs(keys())
    assert {k.recipe for k in left} == {"scratch", "c"}
    assert Chosen().runs(keys()) == keys()


def test_a_field_that_does_nothing_is_refused():
    with pytest.raises(ValueError, match="does nothing"):
        Prune()
    with pytest.raises(ValueError, match="keep does nothing"):
        Prune(order=True, keep=("a",))
    with pytest.raises(ConfigError, match=r"prune\.keep.*no recipe"):
        study(prune={"top_k": 1, "keep": ["a-ful"]})


def test_the_estimates_that_can_be_named_are_those_that_there_are():
    names = Prune.model_json_schema()["properties"]["by"]["enum"]
    assert names == list(ESTIMATORS)


def test_estimators_fit_their_tasks_and_unknown_ones_are_refused():
    assert chosen((), {"segmentation"}) == ("logme", "h_score", "gbc", "knn", "linear_probe", "cc_fv")
    assert "cc_fv" not in chosen((), {"multiclass"})
    assert chosen((), {"multilabel"}) == ("logme",)
    with pytest.raises(ConfigError, match="logme"):
        chosen(("logmee",), {"binary"})
    with pytest.raises(ConfigError, match="segmentation"):
        chosen(("cc_fv",), {"binary"})


def test_the_verdict_says_what_it_does_not_speak_of():
    assert pruned_words(()) == ()
    said = pruned_words((Pruned(recipe="b", dataset="x", reason=""), Pruned(recipe="c", dataset="x", reason="")))
    assert "b and c were left out" in said[0]
    assert "says nothing" in said[0]


def test_every_estimator_cites_its_paper():
    assert all(one.paper.title and one.paper.year for one in ESTIMATORS.values())


def test_a_study_without_prune_has_none():
    assert isinstance(study(), Study)
    assert study().prune is None
