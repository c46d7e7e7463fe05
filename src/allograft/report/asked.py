"""Asked: what a report shows of recipes that ask for labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from allograft.report.figures.learning import learning
from allograft.report.figures.rows import both
from allograft.report.figures.swatch import recipe_swatch
from allograft.report.style import Look
from allograft.report.tables import Cell, Column, Grid
from allograft.report.words import NONE, counted, number, percent
from allograft.study.label_need import LabelNeed, Need, Saving
from allograft.study.summary import Summary

__all__ = ["Asked", "asked"]


class Asked(NamedTuple):
    """One data set: its title, the target in words, the curve, and the tables."""

    title: str
    rule: str
    legend: list[tuple[str, Markup]]
    drawn: Mapping[str, Markup]
    needs: Grid
    savings: Grid | None
    rounds: Grid | None


def asked(summary: Summary, looks: Mapping[str, Look]) -> list[Asked]:
    """Return what is shown of each data set and number of labels at the beginning."""
    found = []
    for i, need in enumerate(summary.label_needs):
        drawn = both(partial(_draw, need, looks, summary.metric_title, f"asked{i}"))
        began = need.curves[0].x[0] if need.curves[0].x else 0
        title = f"{need.dataset}, from {began:g} labels on"
        savings = _savings(need) if need.savings else None
        legend = [(c.recipe, recipe_swatch(looks[c.recipe])) for c in need.curves]
        found.append(
            Asked(title, need.rule, legend, drawn, _needs(need), savings, _rounds(need) if need.rounds else None)
        )
    return found


def _draw(need: LabelNeed, looks: Mapping[str, Look], metric: str, name: str, width: float) -> Markup:
    return learning(need, looks, metric=metric, name=f"{name}-{width:.0f}", width=width)


def _needs(need: LabelNeed) -> Grid:
    columns = (
        Column("recipe"),
        Column("asks by"),
        Column("labels needed", True, "Kaplan-Meier median over seeds; a seed that never got there is censored"),
        Column("each seed", True, "first number of labels at which the target was reached; nothing is interpolated"),
        Column("seeds that got there"),
    )
    rows = tuple((Cell(n.recipe), Cell(n.acquisition), *_labels(n)) for n in need.needs)
    return Grid("labels needed to reach the target", columns, rows)


def _labels(n: Need) -> tuple[Cell, ...]:
    got = sum(value is not None for value in n.by_seed.values())
    text = f"{n.labels:g}" if n.labels is not None else f"more than {n.at_least:g}"
    seeds = " · ".join(str(v) if v is not None else f"> {n.last}" for v in n.by_seed.values())
    return Cell(text, n.labels if n.labels is not None else n.at_least), Cell(seeds), Cell(f"{got} of {len(n.by_seed)}")


def _savings(need: LabelNeed) -> Grid:
    columns = (
        Column("recipe"),
        Column("against"),
        Column("fewer labels", True, "1 less the geometric mean of the ratios of paired seeds; below 0: more labels"),
        Column("95 % interval", True, "over paired seeds"),
        Column("pairs of seeds"),
    )
    rows = tuple(
        (Cell(s.recipe), Cell(s.against), Cell(_percent(s), s.percent), Cell(_interval(s), s.low), Cell(_pairs(s)))
        for s in need.savings
    )
    return Grid("fewer labels than another acquisition needed", columns, rows)


def _rounds(need: LabelNeed) -> Grid:
    classes = list(dict.fromkeys(name for one in need.rounds for name in one.classes))
    columns = (
        Column("recipe"),
        Column("labels after", True),
        Column("asked for", True),
        Column("their entropy", True, "mean over the cases asked for, before they were labelled, in bits"),
        Column("of all", True, "mean over all unlabelled cases, in bits"),
        *(Column(name, True, "share of this class among the new labels") for name in classes),
    )
    rows = tuple(
        (
            Cell(one.recipe),
            Cell(f"{one.labels:g}", one.labels),
            Cell(f"{one.asked:g}", one.asked),
            Cell(number(one.entropy), one.entropy),
            Cell(number(one.entropy_of_all), one.entropy_of_all),
            *(Cell(percent(one.classes.get(name)), one.classes.get(name)) for name in classes),
        )
        for one in need.rounds
    )
    return Grid("what was asked for in each round, means over runs", columns, rows)


def _percent(s: Saving) -> str:
    if s.percent is None:
        return NONE
    text = f"{s.percent:.0f} %".replace("-", "−")
    return text if s.bound == "equal" else f"{s.bound} {text}"


def _interval(s: Saving) -> str:
    return NONE if s.low is None or s.high is None else f"{s.low:.0f} to {s.high:.0f} %".replace("-", "−")


def _pairs(s: Saving) -> str:
    left = s.of - s.seeds
    return counted(s.seeds, "pair") + (f", {left} without: neither got there" if left else "")
