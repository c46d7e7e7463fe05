"""The section of training without labels, from made-up (synthetic) stages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allograft.cli.compare import as_data
from allograft.report.figures.monitors import panels
from allograft.report.figures.plates import SMALL, greys, plate
from allograft.report.pretexts import pretext_table
from allograft.report.write import render, render_pretext
from allograft.study.pretext_stage import PretextStage
from allograft.study.summary import Summary
from html_walk import Walk, complaints
from synthetic_pretexts import PRETEXTS, SHOWN, synthetic_pretexts
from synthetic_summary import HOSTILE, synthetic_summary, synthetic_table


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[PretextStage, ...]:
    return synthetic_pretexts(tmp_path_factory.mktemp("pretexts"))


@pytest.fixture(scope="module")
def full(stages: tuple[PretextStage, ...]) -> Summary:
    return synthetic_summary((synthetic_table(recipes=2, seeds=1),), pretexts=stages)


@pytest.fixture(scope="module")
def page(full: Summary) -> str:
    return render(full)


def section(page: str) -> str:
    found = re.search(r'<section id="pretexts">.*?(?=<section id="(?:asked|transfer|runs)")', page, re.DOTALL)
    assert found, "there is no section"
    return found[0]


def test_synthetic_page_with_pretexts_is_well_formed_and_fetches_nothing(page: str) -> None:
    assert complaints(page) == []
    assert 'href="#pretexts"' in page


def test_every_synthetic_recipe_has_its_sentences_figure_and_row(page: str, stages: tuple[PretextStage, ...]) -> None:
    walk = Walk(page)
    for stage in stages:
        for said in stage.sentences:
            assert said in walk.text
        (label,) = {label for label in walk.labels if label.startswith(f"{stage.recipe} on held-out images of skin.")}
        assert all(panel.title in label for panel in panels(stage))
    (table,) = [text for text in walk.tables if "after the last step without labels" in text]
    assert all(name in table and task in table for name, task in PRETEXTS.items())
    for word in ("learnt", "better than chance", "collapsed in 3 of 3 runs", "chance 0.250", "guess 1.000"):
        assert word in table


def test_each_synthetic_task_has_the_panels_that_it_has_numbers_for(stages: tuple[PretextStage, ...]) -> None:
    named = {stage.task: [(panel.title, panel.below) for panel in panels(stage)] for stage in stages}
    assert [title for title, _ in named["rotation"]] == [
        "loss",
        "right answers",
        "spread of features",
        "classes in features",
    ]
    assert [title for title, _ in named["simsiam"]][1] == "views found"
    assert named["masked_autoencoder"][0] == ("loss", "dashed: trivial guess")
    assert len(named["masked_autoencoder"]) == 3
    bare = stages[0].model_copy(update={"lines": {"held_out_loss": stages[0].lines["held_out_loss"]}})
    assert [panel.title for panel in panels(bare)] == ["loss"]


def test_a_flat_synthetic_line_has_short_numbers_and_is_not_blown_up(stages: tuple[PretextStage, ...]) -> None:
    flat = stages[0].lines["held_out_loss"].model_copy(update={"mean": (3.2450, 3.2451, 3.2452, 3.2453, 3.2454)})
    flat = flat.model_copy(update={"low": flat.mean, "high": flat.mean})
    text = render_pretext(stages[0].model_copy(update={"lines": {"held_out_loss": flat}}))
    assert "e+0" not in text
    assert "+3.245" not in text
    assert ">3.20<" in text


def test_pictures_stand_side_by_side_and_are_left_out_on_request(full: Summary, page: str) -> None:
    shown = section(page)
    expected = 3 * sum(len(SHOWN[task]) for task in PRETEXTS.values())
    assert shown.count("data:image/png;base64") == expected
    assert shown.count("<figcaption>restored</figcaption>") == 3
    bare = render(full.without_pictures())
    assert "data:image/png" not in section(bare)
    assert "restored" not in section(bare)
    assert all(said in Walk(bare).text for stage in full.pretexts for said in stage.sentences)


def test_burned_in_text_is_warned_of_above_the_pictures(full: Summary, page: str) -> None:
    assert "burned-in" not in section(page)
    assert "burned-in" in section(render(full.model_copy(update={"warnings": ("a file declares burned-in text",)})))


def test_a_study_of_which_nothing_can_be_compared_yet_shows_them_too(stages: tuple[PretextStage, ...]) -> None:
    early = render(synthetic_summary((), pretexts=stages[:1]))
    assert complaints(early) == []
    assert stages[0].sentences[0] in Walk(early).text


def test_a_study_without_such_stages_has_no_section() -> None:
    assert "without labels</h2>" not in render(synthetic_summary((synthetic_table(recipes=2, seeds=1),)))


def test_columns_that_nobody_has_are_left_out(stages: tuple[PretextStage, ...]) -> None:
    every = [column.title for column in pretext_table(stages).columns]
    assert {"views found", "right answers", "kNN", "alignment"} <= set(every)
    alone = [column.title for column in pretext_table([s for s in stages if s.task == "masked_autoencoder"]).columns]
    assert "views found" not in alone
    assert "right answers" not in alone


def test_numbers_alone_stand_in_the_json(full: Summary) -> None:
    rows = as_data(full)["pretexts"]
    assert [row["recipe"] for row in rows] == list(PRETEXTS)
    assert rows[0]["told"] == "learnt"
    assert rows[0]["lines"]["held_out_accuracy"]["x"] == [0, 75, 150, 225, 300]
    assert all("pictures" not in row for row in rows)
    assert "pretexts" not in as_data(synthetic_summary((synthetic_table(recipes=2, seeds=1),)))


def test_images_of_a_row_share_the_grey_scale_of_the_first() -> None:
    first = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    made = greys({"image": first, "twice": 2 * first, "void": np.full_like(first, np.nan)})
    assert made["image"].min() == 0
    assert made["image"].max() == 255
    assert (made["twice"] == 255).mean() == pytest.approx(0.5, abs=0.02)
    assert int(made["twice"][25, 50]) == pytest.approx(2 * int(made["image"][25, 50]), abs=4)
    assert not made["void"].any()
    assert not greys({"flat": np.ones((4, 4), np.float32)})["flat"].any()


def test_a_large_plane_is_shrunk_and_a_wide_one_keeps_its_shape() -> None:
    drawn = plate(np.zeros((64, 4 * SMALL), np.uint8), what="wide")
    assert 'viewBox="0 0 120 17.1"' in drawn
    assert 'aria-label="wide"' in drawn
    assert len(plate(np.zeros((900, 900), np.uint8), what="x")) < 1000


def test_one_stage_alone_is_a_page(stages: tuple[PretextStage, ...]) -> None:
    text = render_pretext(stages[1])
    assert complaints(text) == []
    assert stages[1].sentences[0] in Walk(text).text
    assert "data:image/png" in text
    hostile = render_pretext(stages[1].model_copy(update={"recipe": HOSTILE, "task": HOSTILE, "dataset": HOSTILE}))
    assert complaints(hostile) == []
    assert "<script" not in hostile


def test_the_page_is_the_same_each_time_without_torch(full: Summary, page: str) -> None:
    assert render(Summary.model_validate_json(full.model_dump_json())) == page


def test_damaged_pictures_do_not_pass_silently(full: Summary, tmp_path: Path) -> None:
    broken = full.pretexts[0].model_copy(update={"pictures": tmp_path / "none.npz"})
    with pytest.raises(Exception, match="no readable pictures"):
        render(full.model_copy(update={"pretexts": (broken,)}))
