"""Scores: tables of metrics, of classes, of what was missed, and of data that nobody had looked at."""

from __future__ import annotations

from collections.abc import Sequence

from allograft.metrics import METRICS
from allograft.metrics.mask_mean import MaskMean
from allograft.report.tables import Cell, Column, Grid, pair_table
from allograft.report.words import counted, number, percent, signed, span
from allograft.study.summary import Estimate, Fused, Ranked, Table, Unseen

__all__ = [
    "by_class",
    "class_tables",
    "fused_tables",
    "metric_tables",
    "metric_title",
    "outcome_table",
    "unseen_pairs",
    "unseen_table",
]

CALIBRATION = ("log_loss", "brier", "ece")
MANY = 8
"""From more classes than this on, classes are rows: a table grows downwards, not sideways (ours)."""


def metric_title(metric: str, table: Table) -> str:
    """Return a metric's title with its unit: "average symmetric surface distance (mm)"."""
    if metric not in METRICS:
        return metric
    unit = {"mm": table.length_unit, "mm^d": table.volume_unit}.get(_unit(metric), "")
    return METRICS[metric].title + (f" ({unit})" if unit else "")


def metric_tables(table: Table) -> tuple[Grid, Grid]:
    """Every metric with its interval: those of discrimination, then those of calibration."""
    names = list(dict.fromkeys(m for r in table.recipes for m in r.by_metric))
    calibration = [m for m in names if m in CALIBRATION]
    others = [m for m in names if m not in CALIBRATION]
    return (
        _metrics(table, others, "mean (95 % interval)"),
        _metrics(table, calibration, "calibration: mean (95 % interval), before temperature scaling"),
    )


def class_tables(table: Table) -> tuple[Grid, ...]:
    """One table a metric: recipes by classes."""
    names = dict.fromkeys(m for r in table.recipes for m, values in r.by_class.items() if values)
    return tuple(by_class(table, name) for name in names)


def by_class(table: Table, metric: str) -> Grid:
    """Recipes by classes for one metric; balanced accuracy of a class is its recall.

    Only shares are coloured: a distance in mm has no best depth.
    """
    shown = {"balanced_accuracy": "recall", "auroc": "AUROC, one against the rest"}
    found = {r.name: r.by_class.get(metric, {}) for r in table.recipes}
    named = () if _is_mask(metric) else table.classes
    classes = list(dict.fromkeys([*named, *(c for values in found.values() for c in values)]))
    share = metric not in METRICS or (METRICS[metric].low >= 0 and METRICS[metric].high <= 1)

    def cell(recipe: str, label: str) -> Cell:
        value = found[recipe].get(label)
        return Cell(number(value), value, depth=value if share else None)

    title = shown.get(metric, metric_title(metric, table))
    if not _is_mask(metric) or len(classes) <= MANY:
        rows = tuple((Cell(name), *(cell(name, c) for c in classes)) for name in found)
        return Grid(title, (Column("recipe"), *(Column(c, True) for c in classes)), rows)
    rows = tuple((Cell(c), *(cell(name, c) for name in found)) for c in classes)
    return Grid(title, (Column("class"), *(Column(name, True) for name in found)), rows)


def outcome_table(table: Table) -> tuple[Grid, str] | None:
    """Structures that were missed or falsely alarmed, and what is left out of the table; None but for masks.

    Counts are over all runs: every test case once for each seed.
    """
    if not any(r.outcomes for r in table.recipes):
        return None
    classes = list(dict.fromkeys(c for r in table.recipes for c in r.outcomes))
    troubled = [c for c in classes if any(_troubles(r, c) for r in table.recipes)]
    rows = tuple((Cell(r.name), Cell(c), *_outcome(r, c)) for c in troubled for r in table.recipes if c in r.outcomes)
    columns = (
        Column("recipe"),
        Column("class"),
        Column("present", True, "cases that hold it, over all seeds"),
        Column("missed", True, "of these, cases where nothing of it was predicted"),
        Column("false alarms", True, "cases without it where it was predicted"),
        Column("rightly empty", True, "cases without it where nothing was predicted"),
    )
    fine = [c for c in classes if c not in troubled]
    rest = f"No recipe missed or falsely raised {_some(fine)}." if fine else ""
    return Grid("missed and falsely alarmed structures, over all runs", columns, rows), rest


def unseen_table(table: Table, unseen: Unseen, *, metric: str, larger_is_better: bool) -> Grid:
    """What recipes keep on data that nothing of the study has looked at."""
    rows = []
    for r in table.recipes:
        there = unseen.estimates.get(r.name, Estimate(mean=None))
        drop = None
        if r.estimate.mean is not None and there.mean is not None:
            drop = (r.estimate.mean - there.mean) * (1 if larger_is_better else -1)
        rows.append(
            (
                Cell(r.name),
                Cell(number(r.estimate.mean), r.estimate.mean),
                Cell(number(there.mean), there.mean, below=span(there.low, there.high)),
                Cell(signed(drop), drop),
            )
        )
    units = counted(unseen.n_units, unseen.unit)
    columns = (
        Column("recipe"),
        Column(f"on {table.dataset}", True, "mean over units of its test cases"),
        Column(f"on {unseen.dataset}", True, f"mean over {units} (95 % interval)"),
        Column("drop", True, "how much worse it is there; below 0 it is better there"),
    )
    rows.sort(key=lambda row: (row[2].sort is None, (row[2].sort or 0) * (-1 if larger_is_better else 1)))
    return Grid(f"{metric} on {unseen.dataset}, {units}", columns, tuple(rows))


def unseen_pairs(unseen: Unseen, metric: str) -> Grid | None:
    """Recipes compared on unseen data."""
    if not unseen.pairs:
        return None
    return pair_table(unseen.pairs, caption=f"every pair of recipes on {unseen.dataset}, in {metric}")


def _fused(fused: Fused, metric: str) -> Grid:
    """A fusion above the recipes that it is made of."""
    named = {fused.name: fused.estimate, **fused.members}
    rows = [
        (
            Cell(name, mark="fused" if name == fused.name else ""),
            Cell(number(one.mean), one.mean),
            Cell(span(one.low, one.high), one.low),
        )
        for name, one in named.items()
    ]
    columns = (Column("recipe"), Column("mean", True, "mean over units"), Column("95 % interval", True))
    how = f"{counted(fused.n_units, fused.unit)}, {counted(fused.seeds, 'seed')}"
    return Grid(f"{fused.name} by the {fused.rule}: {metric} over {how}", columns, tuple(rows))


def fused_tables(table: Table, metric: str) -> tuple[tuple[Fused, Grid, Grid], ...]:
    """Each fusion with its row above its members', and against each of them."""
    return tuple(
        (one, _fused(one, metric), pair_table(one.pairs, caption=f"{one.name} against its members, in {metric}"))
        for one in table.fused
    )


def _outcome(r: Ranked, label: str) -> tuple[Cell, ...]:
    found = r.outcomes[label]
    without = found["false_alarms"] + found["absent"]
    return (
        _count(found["present"]),
        _count(found["missed"], found["present"]),
        _count(found["false_alarms"], without),
        _count(found["absent"]),
    )


def _count(n: int, of: int = 0) -> Cell:
    """Write a count; as part of another also its share, coloured."""
    if not of:
        return Cell(f"{n:,}".replace(",", " "), n)
    return Cell(f"{n:,}".replace(",", " "), n, below=percent(n / of), depth=n / of)


def _troubles(r: Ranked, label: str) -> int:
    found = r.outcomes.get(label, {})
    return found.get("missed", 0) + found.get("false_alarms", 0)


def _some(names: Sequence[str]) -> str:
    """Name a few, count the rest."""
    shown = ", ".join(names[:MANY])
    return shown if len(names) <= MANY else f"{shown} and {len(names) - MANY} more classes"


def _metrics(table: Table, names: Sequence[str], caption: str) -> Grid:
    rows = tuple(
        (
            Cell(r.name),
            *(
                Cell(number(e.mean), e.mean, below=span(e.low, e.high)) if (e := r.by_metric.get(m)) else Cell("–")
                for m in names
            ),
        )
        for r in table.recipes
    )
    return Grid(caption, (Column("recipe"), *(Column(metric_title(m, table), True, _hint(m)) for m in names)), rows)


def _hint(metric: str) -> str:
    if metric not in METRICS:
        return ""
    direction = "larger is better" if METRICS[metric].larger_is_better else "smaller is better"
    return f"{direction}; a miss and a false alarm count as its worst value" if _is_mask(metric) else direction


def _is_mask(metric: str) -> bool:
    return isinstance(METRICS.get(metric), MaskMean)


def _unit(metric: str) -> str:
    one = METRICS[metric]
    return one.metric.unit if isinstance(one, MaskMean) else ""
