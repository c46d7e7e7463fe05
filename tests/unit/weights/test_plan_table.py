from __future__ import annotations

from pathlib import Path

import pytest

from allograft.testing.tiny import tiny_net
from allograft.weights.build import build_plan
from allograft.weights.contamination import contamination_notes, licence_note
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights
from allograft.weights.table import coverage_line, stage_rows, table
from tiny_source import tiny_source, trained_net

NEW = Rule(where=Where(stages=("head",)), action=Action.FRESH, why="new task")


def plan(folder: Path, action: Action = Action.COPY, dims: int = 3, prefix: str = "") -> TransferPlan:
    source = tiny_source(folder, trained_net(2), prefix=prefix)
    return build_plan(tiny_net(dims), source, (NEW, Rule(action=action, why="rest")), start="x")


def test_golden_stage_table(tmp_path: Path) -> None:
    text = table(plan(tmp_path))
    lines = text.splitlines()
    assert lines[0].startswith("plan ")
    assert lines[0].endswith("start: x   source: tiny")
    assert lines[1] == "source: a tiny network (own; sha256 not known)"
    assert lines[3].startswith("proof: unproven: the card has no fingerprint")
    assert lines[4:] == [
        "stage         value    learns  tensors  numbers  why",
        "stem..stage2  inflate  x1            3    3 444  rest; 2-D kernel to 3-D by average",
        "stem..stage2  copy     x1           18       93  rest",
        "head.label    fresh    x1            2       18  new task",
        "unused    none",
        "coverage  2.6 % copied · 96.9 % adapted · 0.5 % fresh · 0 % frozen    problems: none",
    ]


def test_stages_of_unlike_fate_are_not_merged(tmp_path: Path) -> None:
    lines = table(plan(tmp_path, Action.SAMPLE)).splitlines()
    assert "stem            sample  x1            4    1 512  rest; variance / 5 (fan-in)" in lines
    assert "stage1..stage2  sample  x1            8    1 986  rest; variance / 3 (fan-in)" in lines
    assert any("never sampled): layer1.*, layer2.*, stem.*" in line for line in lines)
    assert [row["stage"] for row in stage_rows(plan(tmp_path, dims=2))] == ["stem", "stage1", "stage2", "head.label"]


def test_rows_sum_to_the_network(tmp_path: Path) -> None:
    made = plan(tmp_path)
    rows = stage_rows(made)
    assert sum(row["tensors"] for row in rows) == len(made.entries)
    assert sum(row["numbers"] for row in rows) == sum(entry.numbers for entry in made.entries)
    assert set(rows[0]) == {"stage", "value", "learns", "tensors", "numbers", "why"}


def test_tensor_table_has_a_line_per_tensor_with_its_numbers(tmp_path: Path) -> None:
    made = plan(tmp_path)
    lines = table(made, by="tensor").splitlines()
    stem = next(line for line in lines if line.startswith("encoder.stem.conv.weight"))
    assert "4x3x5x5x5" in stem
    assert "stem.conv.weight 4x3x5x5" in stem
    assert "[fill=average, depth=5]" in stem
    assert sum(line.startswith(("encoder.", "heads.")) for line in lines) == len(made.entries)


def test_learning_is_said_in_words(tmp_path: Path) -> None:
    made = plan(tmp_path, dims=2)
    learns = {e.target: ((0, 0.0),) for e in made.entries if e.stage == "stem"}
    later = {e.target: ((0, 0.0), (50, 0.1)) for e in made.entries if e.stage == "stage1"}
    text = table(made.with_learns({**learns, **later}, tuning="gradual"))
    assert "tuning: gradual" in text
    assert "frozen" in text
    assert "x0, x0.1 from step 50" in text


def test_problems_are_shown_and_no_share_is_rounded_to_all_or_nothing(tmp_path: Path) -> None:
    text = table(plan(tmp_path, prefix="module."))
    assert "0 % copied" in text
    assert "100 % fresh" in text
    assert "problems: 2" in text
    assert "  problem: 18 tensors have no value." in text
    assert "PROBLEM: no value" in text
    some = plan(tmp_path, dims=2)
    big = some.entries[0].model_copy(update={"shape": (10_000_000,)})
    line = coverage_line(some.model_copy(update={"entries": (big, *some.entries[1:])}))
    assert "> 99.9 % copied" in line
    assert "< 0.1 % fresh" in line


def _source(folder: Path, **card: object) -> SourceWeights:
    return tiny_source(folder, trained_net(2), **card)


@pytest.mark.parametrize(
    ("cohort", "seen_as", "word"),
    [
        ("chestxray14", (), "have seen ChestX-ray14"),
        ("ward", ("Chest X-Ray 14",), "have seen ChestX-ray14"),
        ("imagenet", (), " have seen ImageNet-1k"),
        ("ILSVRC 2012", (), " have seen ImageNet-1k"),
        ("NIH-CXR", (), " have seen ChestX-ray14"),
        ("chestmnist", (), "may have seen ChestX-ray14"),
        ("Chest", (), "may have seen ChestX-ray14"),
    ],
)
def test_overlap_of_names_is_a_note(cohort: str, seen_as: tuple[str, ...], word: str, tmp_path: Path) -> None:
    card = _source(tmp_path, seen=("ChestX-ray14", "ImageNet-1k")).card
    notes = contamination_notes(cohort, seen_as, card)
    assert len(notes) == 1
    assert word in notes[0]


def test_other_names_and_free_licences_are_no_note(tmp_path: Path) -> None:
    card = _source(tmp_path, seen=("ChestX-ray14", "CT")).card
    assert contamination_notes("ward", ("skin", "ct-ward"), card) == ()
    assert licence_note(card) is None
    closed = card.model_copy(update={"commercial": False, "license": "CC-BY-NC-4.0"})
    assert "CC-BY-NC-4.0, not for commercial use" in str(licence_note(closed))


def test_notes_are_added_once(tmp_path: Path) -> None:
    made = plan(tmp_path).with_notes("a", "b").with_notes("a")
    assert made.notes[-2:] == ("a", "b")
