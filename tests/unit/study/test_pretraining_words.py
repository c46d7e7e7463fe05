"""What a pre-training says at its end: chance, collapse, licence, and the lines of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allograft.nets.spec import NetSpec
from allograft.study.pretraining_folder import Facts, Pretrained
from allograft.study.pretraining_words import data_words, learnt_words, recipe_words, warning_words
from allograft.study.stage import StageRecord
from allograft.train.history import History, Row
from allograft.weights.card import WeightSource
from allograft.weights.plan import TransferPlan

SOUND = {"held_out_loss": 0.5, "held_out_accuracy": 0.8, "held_out_chance": 0.25, "spread": 0.4, "uniformity": -1.0}


def found(last: dict[str, float], *, method: str = "rotation", card: dict[str, Any] | None = None) -> Pretrained:
    told = {
        **{"name": "source", "title": "t", "origin": "run:x", "license": "own", "commercial": True},
        **{"reference": {"title": "own"}, "encoder": "resnet18", **(card or {})},
    }
    facts = Facts(
        data="scans",
        method=method,
        unit="patient",
        learnt=(90, 9),
        held_out=(20, 2),
        left_out=5,
        shape=(1, 32, 32),
        windows=True,
        net=NetSpec(encoder="resnet18", width=0.5),
        notes=("a note",),
    )
    history = History(rows=(Row(step=8, lr=0.1, train={"loss": 1.0}, validation=last),))
    stage = StageRecord(
        stage="pretext",
        plan=TransferPlan(start="scratch", entries=()),
        lr=0.1,
        search={},
        search_steps=0,
        history=history,
        steps=8,
        began={**SOUND, "held_out_accuracy": 0.3},
    )
    return Pretrained(Path("/x/source"), WeightSource.model_validate(told), facts, stage)


def test_answers_stand_beside_chance_and_what_was_before() -> None:
    said = "\n".join((*data_words(found(SOUND)), *learnt_words(found(SOUND))))
    assert "learnt from 90 images of 9 patients, 20 images of 2 patients held out; windows of 32x32, 1 channel" in said
    assert "left out: 5 images" in said
    assert "note: a note" in said
    assert "held-out accuracy 0.800 (before: 0.300), by chance 0.250" in said
    assert list(warning_words(found(SOUND))) == []


@pytest.mark.parametrize(
    ("last", "card", "said"),
    [
        ({**SOUND, "spread": 0.001}, {}, "collapsed: features of different images are alike"),
        ({**SOUND, "held_out_accuracy": 0.25}, {}, "not answered better than by chance"),
        (SOUND, {"license": "CC-BY-NC-4.0", "commercial": False}, "CC-BY-NC-4.0"),
    ],
)
def test_what_speaks_against_a_source_is_a_warning(last: dict[str, float], card: dict[str, Any], said: str) -> None:
    (warning,) = warning_words(found(last, card=card))
    assert said in warning


def test_a_judge_that_is_to_be_deceived_may_answer_by_chance() -> None:
    assert list(warning_words(found({**SOUND, "held_out_accuracy": 0.25}, method="gan"))) == []


def test_the_lines_of_a_study_name_source_network_and_what_images_must_be() -> None:
    line = "- {name: source, source: /x/source, start: full, net: {encoder: resnet18, width: 0.5}}"
    assert list(recipe_words(found(SOUND))) == [line]
    standard = {"expects": {"channels": 1, "standard": True}}
    assert next(iter(recipe_words(found(SOUND, card=standard)))) == "preprocess: {intensity: standard}"
    window = {"expects": {"channels": 1, "window": [-1000, 400]}}
    assert "low: -1000, high: 400" in next(iter(recipe_words(found(SOUND, card=window))))
