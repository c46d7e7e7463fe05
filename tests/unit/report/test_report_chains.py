"""The chain of a made-up run on the page: every station with its numbers, in order, and a plan for each stage."""

from __future__ import annotations

import re

from allograft.report.chains import plans, ways
from allograft.report.write import render
from allograft.study.chain import Chain, Step
from allograft.study.outcome import RunKey
from allograft.study.summary import Summary
from synthetic_summary import HOSTILE, synthetic_summary, synthetic_table

RUN = RunKey(id="0", recipe="imagenet", dataset="skin", fold=1, seed=2, label_fraction=1.0)
ROW = {"stage": "stem", "value": "copy", "learns": "x1", "tensors": 3, "numbers": 12, "why": "made up"}


def step(stage: str, data: str, source: str | None, **fields: object) -> Step:
    known = {"steps": 40, "lr": 0.001, "metric": "Dice", "validation": 0.61, "start": "full", "tuning": "full"}
    said = {
        "coverage": "coverage  97 % copied · 3 % fresh    problems: none",
        "proof": "fingerprint met",
        "rows": (ROW,),
    }
    return Step.model_validate({"stage": stage, "data": (data,), "source": source, **known, **said, **fields})


def made_up(*steps: Step) -> Summary:
    card = {"name": "photos-made-up", "title": "Photographs, made up", "licence": "MIT", "has seen": ["ImageNet-1k"]}
    chains = {"imagenet": Chain(run=RUN, steps=steps)}
    plan = {"imagenet": {"rows": [ROW], "coverage": "", "notes": [], "unused": 0}}
    return synthetic_summary((synthetic_table(recipes=2, seeds=1),), chains=chains, weight_cards=(card,), plans=plan)


TWO = (step("link1", "nuclei", "photos-made-up"), step("finetune", "skin", "link1", unused=7, validation=None))


def test_every_station_stands_in_order_with_what_is_known_of_it() -> None:
    (way,) = ways(made_up(*TWO))
    assert [(s.kind, s.title) for s in way.stations] == [
        ("weights", "Photographs, made up"),
        ("link", "nuclei"),
        ("task", "skin"),
    ]
    assert way.stations[0].facts == {"has seen": "ImageNet-1k", "licence": "MIT"}
    assert way.stations[1].facts == {
        "steps": "40",
        "learning rate": "0.001",
        "validation Dice": "0.610",
        "begun with": "full: 97 % copied · 3 % fresh · problems: none",
        "learns": "full",
        "proof": "fingerprint met",
    }
    assert "validation Dice" not in way.stations[2].facts
    assert way.run == "skin, fold 1, seed 2"
    assert way.sentence == "imagenet: from Photographs, made up over nuclei (40 steps), then skin (40 steps)."


def test_a_recipe_of_one_stage_has_no_chain_and_one_plan() -> None:
    single = made_up(step("finetune", "skin", None))
    assert ways(single) == ()
    assert '<ol class="chain">' not in render(single)
    assert [len(stages) for _, _, stages in plans(single)] == [1]


def test_without_weights_it_begins_with_fresh_values() -> None:
    (way,) = ways(made_up(step("link1", "nuclei", None, start="scratch"), TWO[1]))
    assert way.stations[0].title == "fresh values"
    assert way.stations[0].facts == {"from": "the run's seed, by scratch"}


def test_the_page_shows_the_chain_as_a_list_and_a_plan_for_each_stage() -> None:
    page = render(made_up(*TWO))
    shown = re.search(r'<figure class="way" aria-label="([^"]+)".*?</figure>', page, re.DOTALL)
    assert shown is not None
    assert "over nuclei (40 steps), then skin" in shown[1]
    assert shown[0].count("<li") == 3
    assert re.findall(r"<h4>Stage (\w+)</h4>", page) == ["link1", "finetune"]
    assert "7 tensors of the source are not used" in page


def test_hostile_words_stay_words() -> None:
    page = render(made_up(step("link1", HOSTILE, None), TWO[1]))
    assert HOSTILE not in page
