"""Method: how the numbers of a report were made, in sentences that hold for this study."""

from __future__ import annotations

from collections.abc import Iterable

from allograft.report.words import counted, number
from allograft.study.summary import Summary, Table

__all__ = ["how"]


def how(summary: Summary) -> tuple[str, ...]:
    """Say what an independent unit is, where intervals and verdicts come from, and what they do not say."""
    if not summary.tables:
        return ("Nothing was compared yet, so no statistics were made.",)
    return (
        *dict.fromkeys(_units(table) for table in summary.tables),
        "Recipes are compared on the same cases of the same folds with the same seeds; only seeds that every "
        "recipe has finished are counted. A unit's value is averaged over seeds first, so more seeds make a value "
        "steadier but never add units.",
        _intervals(summary.tables),
        _verdicts(summary.tables),
        "Fewer than 6 units: cannot tell. With 5 units not even a difference of the same sign in all of them "
        "reaches p < 0.05.",
        "The p value over seeds stands beside it for information: it asks whether training luck explains the "
        "difference, not whether other cases would show it.",
        "Each recipe chose its learning rate on validation cases within its own budget of steps. Test cases chose "
        "nothing. Bands of learning curves are the middle 80 % of runs, not confidence intervals.",
        "What an interval speaks of: other units of the same kind from the same place. It says nothing about other "
        "hospitals, scanners or patients that this data set does not have.",
    )


def _units(table: Table) -> str:
    return (
        f"On {table.dataset} the independent unit is the {table.unit}: {counted(table.n_units, table.unit)} "
        f"hold {counted(table.n_cases, 'test case')}. Cases of one {table.unit} are never counted as independent."
    )


def _intervals(tables: Iterable[Table]) -> str:
    tables = tuple(tables)
    methods = _distinct(r.estimate.method for t in tables for r in t.recipes)
    flat = "no spread" in methods
    tests = _distinct(p.test for t in tables for p in t.pairs)
    used = f" Used here: intervals by {', '.join(methods)};" if methods else ""
    used += f" comparisons by {', '.join(tests)}." if tests else ""
    alike = " Where all units gave the same value, the interval is that of the rule of three." if flat else ""
    return (
        "Intervals are at 95 %: Student's t below 40 units, the BCa bootstrap over units from 40 on. Where a metric "
        "has no value within one unit (as AUROC often has not), whole units are resampled or left out in turn."
        f"{alike}{used}"
    )


def _verdicts(tables: Iterable[Table]) -> str:
    tables = tuple(tables)
    margins = _distinct(number(p.margin) for t in tables for p in t.pairs if p.margin is not None)
    family = max((len(t.pairs) for t in tables), default=0)
    margin = f"± {' or '.join(margins)}" if margins else "none was set"
    return (
        f"p values are corrected by Holm over the comparisons of a table (up to {family} here). Equivalence is two "
        f"one-sided tests at 5 %: the 90 % interval must lie inside the margin ({margin}); it is not corrected for "
        "the number of comparisons."
    )


def _distinct(words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word]
