"""Tables: rows of cells that the page shows; every number also stands in a table, not only in a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from allograft.report.words import counted, number, p_value, percent, signed, span
from allograft.study.summary import Pair, Ranked, RunRow, Table

__all__ = [
    "Cell", "Column", "Grid", "matrix", "pair_table", "plan_table", "ranking_table", "run_table", "share_table",
    "steps_table",
]  # fmt: skip


class Column(NamedTuple):
    """A column: its title, whether it holds numbers, and what it means."""

    title: str
    numeric: bool = False
    hint: str = ""


class Cell(NamedTuple):
    """A cell.

    Args:
        text: what is shown.
        sort: number to sort by, None to sort by the text.
        below: a second, smaller line.
        verdict: a verdict, shown as a badge instead of the text.
        depth: 0 to 1, how deeply the cell is coloured, None for not at all.
        mark: a word in a small frame behind the text.
    """

    text: str
    sort: float | None = None
    below: str = ""
    verdict: str = ""
    depth: float | None = None
    mark: str = ""


class Grid(NamedTuple):
    """A table; the first cell of each row names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def ranking_table(table: Table, *, metric: str, baseline: str) -> Grid:
    """Recipes, best first."""
    units = counted(table.n_units, table.unit)
    encoders = len({r.encoder for r in table.recipes})
    methods = " or ".join(dict.fromkeys(r.estimate.method for r in table.recipes if r.estimate.method))
    rows = [
        (
            _named(r, baseline, encoders),
            _number(r.estimate.mean),
            Cell(span(r.estimate.low, r.estimate.high), r.estimate.low),
            Cell(" · ".join(number(v) for v in r.by_seed.values()) or "–"),
            Cell(str(r.runs), r.runs),
            Cell(f"{r.seconds:.1f}", r.seconds),
        )
        for r in table.recipes
    ]
    columns = (
        Column("recipe"),
        Column(metric, True, "mean over units; each unit's value is first averaged over seeds"),
        Column("95 % interval", True, f"over {units}"),
        Column("each seed", True, "all folds together"),
        Column("runs", True),
        Column("seconds a run", True),
    )
    said = f"{metric} over {units}" + (f"; intervals by {methods}" if methods else "")
    return Grid(said, columns, tuple(rows))


def pair_table(pairs: Sequence[Pair], *, caption: str, baseline: str = "") -> Grid:
    """Comparisons with everything that was counted; with a baseline, as `a` reads against it.

    Where all were tested alike, test and units stand in the caption.
    """
    how = dict.fromkeys((p.test, counted(p.n_units, p.unit)) for p in pairs)
    alike = len(how) == 1
    columns = (
        Column("recipe" if baseline else "pair"),
        Column("verdict"),
        Column("difference", True, "above 0: the first is better"),
        Column("95 % interval", True),
        Column("p", True, "before correction"),
        Column("Holm p", True, "corrected for all comparisons of this table; the verdict rests on it"),
        Column("p over seeds", True, "paired t over seeds: luck of training, not of cases; for information"),
        Column("units needed", True, "to find a difference as large as the margin four times in five"),
        *(() if alike else (Column("test over units"),)),
    )
    rows = [(*_pair(p, baseline), *(() if alike else (Cell(p.test, below=counted(p.n_units, p.unit)),))) for p in pairs]
    test, units = next(iter(how))
    return Grid(f"{caption}; {test} over {units}" if alike else caption, columns, tuple(rows))


def _pair(p: Pair, baseline: str) -> tuple[Cell, ...]:
    low = None if p.ci is None else p.ci[0]
    needed = "–" if p.units_needed is None else f"{p.units_needed:,}".replace(",", " ")
    return (
        Cell(p.a if baseline else f"{p.a} − {p.b}"),
        Cell("", verdict=_reads(p.verdict, p.difference) if baseline else p.verdict),
        Cell(signed(p.difference), p.difference),
        Cell(span(*(p.ci or (None, None))), low),
        Cell(p_value(p.p), p.p),
        Cell(p_value(p.p_adjusted), p.p_adjusted),
        Cell(p_value(p.p_seeds), p.p_seeds),
        Cell(needed, p.units_needed),
    )


def matrix(table: Table) -> Grid:
    """Every recipe (row) minus every other (column)."""
    names = [r.name for r in table.recipes]
    found: dict[tuple[str, str], tuple[float | None, str]] = {}
    for p in table.pairs:
        back = None if p.difference is None else -p.difference
        found[p.a, p.b] = (p.difference, _reads(p.verdict, p.difference))
        found[p.b, p.a] = (back, _reads(p.verdict, back))
    rows = []
    for a in names:
        cells = [Cell(a)]
        for b in names:
            difference, verdict = found.get((a, b), (None, ""))
            cells.append(Cell(signed(difference) if verdict else "", difference, verdict=verdict))
        rows.append(tuple(cells))
    return Grid("row minus column", (Column("minus"), *(Column(n, True) for n in names)), tuple(rows))


def steps_table(table: Table) -> Grid:
    """How soon each recipe's runs reached the threshold, with runs that never did."""
    rows, trained = [], {curve.recipe for curve in table.validation_curves}
    for r in table.recipes:
        if r.name not in trained:
            rows.append((Cell(r.name), Cell("–", None), Cell("solved without steps", 0)))
            continue
        reached = round(r.reached * r.runs)
        missed = r.runs - reached
        never = f"{missed} of {counted(r.runs, 'run')} never reached it" if missed else "every run reached it"
        never += "; too few did for a median" if r.steps_to_threshold is None and reached else ""
        median = "–" if r.steps_to_threshold is None else f"{r.steps_to_threshold:g}"
        rows.append((Cell(r.name), Cell(median, r.steps_to_threshold), Cell(never, missed)))
    columns = (
        Column("recipe"),
        Column("median steps", True, "Kaplan-Meier over runs; runs that never get there are kept as censored"),
        Column("runs that got there"),
    )
    return Grid("steps to the threshold", columns, tuple(rows))


def share_table(recipes: Sequence[tuple[str, Mapping[str, float]]]) -> Grid:
    """Shares of numbers by fate."""
    fates = list(dict.fromkeys(name for _, shares in recipes for name in shares))
    rows = tuple(
        (Cell(name), *(Cell(percent(shares.get(f)), shares.get(f)) for f in fates)) for name, shares in recipes
    )
    return Grid("shares of the network's numbers", (Column("recipe"), *(Column(f, True) for f in fates)), rows)


def plan_table(rows: Iterable[Mapping[str, Any]], recipe: str) -> Grid:
    """A plan by stage."""
    names = ("stage", "value", "learns", "tensors", "numbers", "why")
    numeric = {"tensors", "numbers"}
    found = tuple(
        tuple(_count(row.get(n)) if n in numeric else Cell(str(row.get(n, "–"))) for n in names) for row in rows
    )
    return Grid(f"plan of {recipe}, by stage", tuple(Column(n, n in numeric) for n in names), found)


def run_table(runs: Sequence[RunRow], metric: str) -> Grid:
    """Every finished run."""
    rows = tuple(
        (
            Cell(row.key.recipe),
            Cell(row.key.dataset),
            Cell(percent(row.key.label_fraction), row.key.label_fraction),
            Cell(str(row.key.fold), row.key.fold),
            Cell(str(row.key.seed), row.key.seed),
            _number(row.score),
            Cell(f"{row.lr:.1e}", row.lr),
            Cell(f"{row.seconds:.1f}", row.seconds),
            Cell(f"{row.peak_memory_mb:,.0f}".replace(",", " "), row.peak_memory_mb),
            Cell(row.key.id),
        )
        for row in runs
    )
    titles = ("recipe", "data", "labels", "fold", "seed", metric, "learning rate", "seconds", "peak MiB", "run id")
    text = {"recipe", "data", "run id"}
    return Grid("finished runs", tuple(Column(t, t not in text) for t in titles), rows)


def _reads(verdict: str, difference: float | None) -> str:
    """Return the verdict as it reads from the first recipe: one that lost is worse."""
    return "worse" if verdict == "better" and (difference or 0) < 0 else verdict


def _named(r: Ranked, baseline: str, encoders: int) -> Cell:
    """The recipe, and below it what it is; the encoder where recipes differ in it."""
    words = [f"start {r.start}", f"tuning {r.tuning}", f"source {r.source or 'none'}"]
    words += [f"objective {r.objective}"] if r.objective != "supervised" else []
    words += [f"procedure {r.procedure}"] if r.procedure != "finetune" else []
    words += [r.encoder] if encoders > 1 else []
    words += [f"labels {r.learn}"] if r.learn else []
    words += [f"chosen by {r.selects_by}"] if r.selects_by else []
    return Cell(r.name, below=" · ".join(words), mark="baseline" if r.name == baseline else "")


def _number(value: float | None, depth: float | None = None) -> Cell:
    return Cell(number(value), value, depth=depth)


def _count(value: Any) -> Cell:
    return Cell(f"{value:,}".replace(",", " "), value) if isinstance(value, int) else Cell(str(value))
