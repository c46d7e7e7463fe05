"""Rounds of pseudo-labels: read from runs, averaged, and shown in the page; made-up (synthetic) reports."""

from __future__ import annotations

import json
from pathlib import Path

from allograft.data.transforms.augment import Augment
from allograft.data.transforms.cutout import Cutout
from allograft.report.rounds import round_table
from allograft.report.write import render
from allograft.study.arm import Arm
from allograft.study.outcome import RunKey
from allograft.study.rounds import read_rounds
from allograft.study.store import RunStore
from synthetic_summary import synthetic_summary, synthetic_table

GUESS = {"stage": "guess-1", "round": 1, "classes": [0.25, 0.75], "kept_share": 0.5, "confidence": 0.8, "note": ""}


def keys() -> list[RunKey]:
    return [
        RunKey(id=f"{r}-{s}", recipe=r, dataset="d", fold=0, seed=s, label_fraction=0.1)
        for r in ("plain", "chain")
        for s in (0, 1)
    ]


def written(folder: Path) -> RunStore:
    store, (_, _, one, two) = RunStore(folder), keys()
    late = {**GUESS, "classes": [0, 1], "agreement": 0.5, "note": "Collapsed (pseudo-labels of round 1): ..."}
    said = {
        one.id: [{**GUESS, "agreement": 0.9}, {"stage": "finetune-1", "round": 1, "validation": 0.7}],
        two.id: [late, {"stage": "query-1", "round": 2, "labels": 12}],
    }
    for name, rows in said.items():
        store.run_folder(name).mkdir(parents=True)
        (store.run_folder(name) / "reports.json").write_text(json.dumps(rows))
    return store


def test_rounds_are_means_over_runs_and_other_reports_are_left_alone(tmp_path: Path) -> None:
    (found,) = read_rounds(written(tmp_path), keys(), ("no", "yes"))
    assert (found.recipe, found.round, found.runs, found.collapsed) == ("chain", 1, 2, 1)
    assert found.classes == {"no": 0.125, "yes": 0.875}
    assert (found.kept, found.confidence, found.agreement, found.validation) == (0.5, 0.8, 0.7, 0.7)


def test_the_page_shows_them_and_says_nothing_without(tmp_path: Path) -> None:
    rounds = read_rounds(written(tmp_path), keys(), ("no", "yes"))
    summary = synthetic_summary()
    first = summary.tables[0].model_copy(update={"rounds": rounds})
    page = render(summary.model_copy(update={"tables": (first, *summary.tables[1:])}))
    for text in ("chain, round 1", "collapsed in 1 of 2", "no 12.5 % · yes 87.5 %", "70 %"):
        assert text in page, text
    assert "pseudo-labels by round" not in render(summary)
    assert round_table(synthetic_table()) is None


def test_a_stages_own_augmentation_mirrors_only_where_the_recipes_may() -> None:
    def arm(own: Augment) -> Arm:
        made = object.__new__(Arm)
        for name in ("recipe", "pool", "device", "source", "search", "select_by", "cache"):
            object.__setattr__(made, name, None)
        object.__setattr__(made, "others", {})
        object.__setattr__(made, "augment", own)
        return made

    free, sided = arm(Augment(preset="light")), arm(Augment(preset="light", flip_left_right=False))
    strong = Augment(preset="strong", transforms=(Cutout(),))
    assert free.with_augment(None) is free
    assert free.with_augment(strong).augment == strong
    assert sided.with_augment(strong).augment == strong.model_copy(update={"flip_left_right": False})
    assert "flip" not in [step.kind for step in sided.with_augment(strong).augment.steps]
