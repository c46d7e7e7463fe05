"""The report of a segmentation: tables with units, misses, unseen data, and pictures of cases; synthetic numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allograft.metrics.segmentation import MASK_METRICS
from allograft.report.figures.contours import contours, error_codes, errors
from allograft.report.scores import (
    MANY,
    by_class,
    class_tables,
    metric_tables,
    metric_title,
    outcome_table,
    unseen_table,
)
from allograft.report.style import CLASS_COLOURS, ERRORS
from allograft.report.write import render
from allograft.study.slices import Slice, write_slice
from allograft.study.summary import Estimate, Example, Seen, Summary, Table, Unseen
from html_walk import Walk
from synthetic_summary import HOSTILE, synthetic_summary, synthetic_table

CLASSES = ("background", "liver", "spleen")
OUTCOMES = {
    "liver": {"present": 10, "missed": 0, "false_alarms": 0, "absent": 2},
    "spleen": {"present": 8, "missed": 2, "false_alarms": 1, "absent": 3},
}


def a_slice(*, right: bool = True) -> Slice:
    truth = np.zeros((20, 30), np.int16)
    truth[3:10, 4:12], truth[12:18, 20:28] = 1, 2
    labels = np.roll(truth, 1, axis=1) if right else np.zeros_like(truth)
    image = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)
    return Slice(image, truth, labels, (2.0, 1.0), 4, 9)


def segmented(folder: Path, *, classes: tuple[str, ...] = CLASSES, **changes: object) -> Table:
    """A synthetic table as a segmentation study has it."""
    plain = synthetic_table(recipes=2)
    values = {"dice": 0.8, "iou": 0.7, "surface_dice": 0.75, "hd95": 12.5, "assd": 3.25, "volume_difference": 10299.4,
              "relative_volume_difference": 0.25, "localisation_error": 4.5}  # fmt: skip
    names = classes[1:]
    recipes = tuple(
        r.model_copy(
            update={
                "by_metric": {m: Estimate(mean=values[m], low=values[m] / 2, high=values[m] * 2) for m in MASK_METRICS},
                "by_class": {m: dict.fromkeys(names, values[m]) for m in ("dice", "surface_dice", "hd95", "assd")},
                "outcomes": OUTCOMES if names == CLASSES[1:] else {},
            }
        )
        for r in plain.recipes
    )
    for name in ("one", "two"):
        write_slice(folder / f"{name}.npz", a_slice(right=name == "one"))
    seen = tuple(
        Seen(recipe=r.name, run="f" * 16, seed=0, value=0.8, dice=dict.fromkeys(names, 0.81), slice=folder / f"{f}.npz")
        for r, f in zip(recipes, ("one", "two"), strict=True)
    )
    shown = tuple(Example(which=w, case=f"{w}0123", seen=seen) for w in ("best", "median", "worst"))
    update = {"recipes": recipes, "classes": classes, "length_unit": "mm", "volume_unit": "mm³", "examples": shown}
    return plain.model_copy(update={**update, **changes})


def summary(table: Table, **changes: object) -> Summary:
    return synthetic_summary((table,), metric="dice", metric_title="Dice coefficient", **changes)


def elsewhere(mean: float) -> Unseen:
    names = [r.name for r in synthetic_table(recipes=2).recipes]
    return Unseen(
        dataset="other",
        unit="patient",
        n_units=9,
        estimates={name: Estimate(mean=mean, low=mean - 0.1, high=mean + 0.1, n_units=9) for name in names},
        pairs=synthetic_table(recipes=2).pairs,
    )


def test_the_page_is_whole_and_has_what_masks_need(tmp_path: Path) -> None:
    walk = Walk(render(summary(segmented(tmp_path, unseen=(elsewhere(0.5),)))))
    assert walk.complaints == []
    for text in ("Cases", "Unseen data", "What was missed", "Best case", "slice 4 of 9", "average symmetric surface"):
        assert text in walk.text, text
    assert "alibration" not in " ".join(walk.tables)
    assert "(mm)" in walk.text
    assert "(mm³)" in walk.text
    assert "10\N{NO-BREAK SPACE}299" in walk.text


def test_classification_has_none_of_it() -> None:
    page = render(synthetic_summary())
    walk = Walk(page)
    for text in ("Unseen data", "What was missed", "Best case", "(mm"):
        assert text not in walk.text
    assert 'id="cases"' not in page
    assert "calibration" in " ".join(walk.tables) + walk.text.lower()


def test_only_shares_are_coloured_and_lengths_have_their_unit(tmp_path: Path) -> None:
    table = segmented(tmp_path)
    for metric, coloured in (("dice", True), ("surface_dice", True), ("hd95", False), ("assd", False)):
        cells = [cell for row in by_class(table, metric).rows for cell in row[1:]]
        assert all((cell.depth is not None) == coloured for cell in cells), metric
    assert [grid.caption for grid in class_tables(table)][2].endswith("(mm)")
    in_pixels = table.model_copy(update={"length_unit": "px", "volume_unit": "px²"})
    assert metric_title("hd95", in_pixels).endswith("(px)")
    assert metric_title("volume_difference", in_pixels).endswith("(px²)")
    assert "(" not in metric_title("dice", table)
    assert "background" not in [column.title for column in by_class(table, "dice").columns]


def test_all_metrics_of_masks_stand_in_one_table_with_their_direction(tmp_path: Path) -> None:
    table = segmented(tmp_path)
    scores, calibration = metric_tables(table)
    assert len(scores.columns) == 1 + len(MASK_METRICS)
    assert len(calibration.columns) == 1, "nothing to show"
    hints = {column.title: column.hint for column in scores.columns[1:]}
    assert hints["Dice coefficient"].startswith("larger")
    assert hints[metric_title("hd95", table)].startswith("smaller")


def test_many_classes_are_rows(tmp_path: Path) -> None:
    classes = ("background", *(f"organ {i}" for i in range(MANY + 1)))
    grid = by_class(segmented(tmp_path, classes=classes), "dice")
    assert [row[0].text for row in grid.rows] == list(classes[1:])
    assert len(grid.columns) == 3


def test_misses_and_false_alarms_are_counted_by_recipe_and_class(tmp_path: Path) -> None:
    found = outcome_table(segmented(tmp_path))
    assert found is not None
    grid, rest = found
    assert {row[1].text for row in grid.rows} == {"spleen"}
    assert rest == "No recipe missed or falsely raised liver."
    row = grid.rows[0]
    assert [cell.text for cell in row[2:]] == ["8", "2", "1", "3"]
    assert (row[3].below, row[3].depth) == ("25 %", 0.25)
    assert (row[4].below, row[4].depth) == ("25 %", 0.25)
    assert outcome_table(synthetic_table(recipes=2)) is None


@pytest.mark.parametrize(("larger", "sign"), [(True, "+"), (False, "−")])
def test_the_drop_has_the_metrics_own_direction(larger: bool, sign: str) -> None:
    table = synthetic_table(recipes=2)
    grid = unseen_table(table, elsewhere(0.2), metric="x", larger_is_better=larger)
    assert all(row[3].text.startswith(sign) for row in grid.rows), "0.2 is less than on the study's own cases"
    assert grid.rows[0][2].below == "0.100 to 0.300"


def test_error_codes_tell_four_things_apart() -> None:
    truth = np.array([[0, 1, 1, 1, 0, -1]], np.int16)
    labels = np.array([[0, 1, 0, 2, 2, 2]], np.int16)
    one = Slice(np.zeros((1, 6), np.uint8), truth, labels, (1.0, 1.0), 1, 1)
    assert error_codes(one).tolist() == [[0, 1, 3, 4, 2, 0]], "nothing is said of what is not judged"
    assert len(ERRORS) == 4
    assert "missed 1 pixels" in errors(one, "x", what="y")


def test_colours_differ_in_lightness_not_only_in_hue() -> None:
    """As an eye without colour sees them; the class colours differ from those of errors."""
    grey = {name: np.dot([int(c[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114]) for name, c, _ in ERRORS}
    assert abs(grey["too much"] - grey["missed"]) > 25
    assert abs(grey["right"] - grey["too much"]) > 25
    assert not {colour for _, colour, _ in ERRORS} & set(CLASS_COLOURS)


def test_outlines_lie_where_the_mask_lies() -> None:
    drawn = contours(a_slice(), "x", {1: "#123456"}, what="y")
    line = re.findall(r'<path d="([^"]+)" fill="none" stroke="#123456"', drawn)[0]
    xs, ys = (np.array(found, float) for found in zip(*re.findall(r"[ML]([\d.]+) ([\d.]+)", line), strict=True))
    assert (xs.min(), xs.max()) == (40.0, 120.0), "columns 4 to 12 of 30, in a drawing of 300"
    assert (ys.min(), ys.max()) == (60.0, 200.0), "rows 3 to 10 of 20, twice as far apart"
    assert 'viewBox="0 0 300 400"' in drawn


def test_hostile_class_names_stay_text(tmp_path: Path) -> None:
    page = render(summary(segmented(tmp_path, classes=("background", HOSTILE, "x"))))
    assert Walk(page).complaints == []
    assert "<script>alert" not in page


def test_burned_in_text_is_warned_of_only_where_files_declare_it(tmp_path: Path) -> None:
    table = segmented(tmp_path)
    assert "before you hand the report on" not in render(summary(table))
    warned = summary(table, warnings=("3 files: the file declares burned-in annotation",))
    assert "before you hand the report on" in render(warned)
