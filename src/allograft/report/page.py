"""Page: everything that the template shows, computed; the template only places it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from allograft.report.across import Across, across, left_out_tables
from allograft.report.asked import asked
from allograft.report.cards import card
from allograft.report.chains import plans, ways
from allograft.report.figures.coverage import coverage
from allograft.report.figures.curves import efficiency, over_steps
from allograft.report.figures.forest import forest, seen_from
from allograft.report.figures.heatmap import heatmap
from allograft.report.figures.layers import change, in_order
from allograft.report.figures.ranking import ranking
from allograft.report.figures.rows import both
from allograft.report.figures.swatch import fate_swatch, recipe_swatch, verdict_swatch
from allograft.report.heat import Gaze, gazes
from allograft.report.method import how
from allograft.report.pictures import LEGEND, Shown, shown_cases
from allograft.report.pointing import pointing_tables
from allograft.report.pretexts import pretexts
from allograft.report.rounds import round_table
from allograft.report.scores import (
    class_tables,
    fused_tables,
    metric_tables,
    outcome_table,
    unseen_pairs,
    unseen_table,
)
from allograft.report.style import FATES, VERDICTS, WORSE, Look, looks
from allograft.report.tables import (
    Grid,
    matrix,
    pair_table,
    ranking_table,
    run_table,
    share_table,
    steps_table,
)
from allograft.report.words import counted, table_title
from allograft.study.summary import Fused, Layer, Pair, Pointing, Summary, Table, Unseen

__all__ = ["page"]

MEASURES = (
    ("cka", "linear CKA"),
    ("cca", "mean canonical correlation (CCA)"),
    ("svcca", "mean canonical correlation of the leading directions (SVCCA)"),
)

Drawn = Mapping[str, Markup]


class View(NamedTuple):
    """One table of a study, ready to be shown."""

    key: str
    title: str
    table: Table
    ranking: Drawn
    ranked: Grid
    forest: Drawn | None
    against: Grid | None
    pairs: Grid | None
    matrix: Grid | None
    validation: Markup | None
    loss: Markup | None
    steps: Grid | None
    rounds: Grid | None
    change: Drawn | None
    maps: tuple[tuple[str, Markup], ...]
    classes: tuple[Grid, ...]
    metrics: tuple[Grid, ...]
    outcomes: tuple[Grid, str] | None
    unseen: tuple[tuple[Unseen, Grid, Grid | None], ...]
    fused: tuple[tuple[Fused, Grid, Grid], ...]
    gazes: tuple[Gaze, ...]
    pointing: tuple[tuple[Pointing, Grid, Grid | None], ...]
    runs: str
    encoder: str
    across: Across | None


def page(summary: Summary) -> dict[str, Any]:
    """Return what the template needs, by name."""
    look = looks(summary)
    legend = _legend(summary.tables, look)
    moved = {layer.recipe for table in summary.tables for layer in table.layers if layer.change is not None}
    first = summary.tables[0] if summary.tables else None
    of = {pair.sentence: pair for table in summary.tables for pair in table.pairs}
    lead = [s for s in summary.headline if s not in of]
    waiting = summary.planned - len(summary.runs) - len(summary.failures)
    return {
        "summary": summary,
        "first": first,
        "lead": lead,
        "against": _against([of[s] for s in summary.headline if s in of], summary.baseline),
        "waiting": max(0, waiting),
        "views": [_view(summary, table, look, f"t{i}") for i, table in enumerate(summary.tables)],
        "legend": legend,
        "moved": [entry for entry in legend if entry[0] in moved],
        "fates": [(f, fate_swatch(f)) for f in FATES],
        "verdicts": [(v, verdict_swatch(v)) for v in VERDICTS],
        "verdict_of": {v.word: v for v in (*VERDICTS, WORSE)},
        "efficiency": _efficiency(summary, look),
        "asked": asked(summary, look),
        "pretexts": pretexts(summary.pretexts, look),
        "left_out": left_out_tables(summary),
        "coverage": _coverage(first),
        "cases": _cases(summary),
        "error_legend": LEGEND,
        "burned_in": any(
            "burned-in" in said for said in (*summary.warnings, *(n for t in summary.tables for n in t.notes))
        ),
        "ways": ways(summary),
        "plans": plans(summary),
        "runs": run_table(summary.runs, summary.metric_title) if summary.runs else None,
        "cards": [card(facts) for facts in (*summary.data_cards, *summary.weight_cards)],
        "method": how(summary),
    }


def _legend(tables: Sequence[Table], look: Mapping[str, Look]) -> list[tuple[str, Markup]]:
    """Return recipes with their swatch, in the order of the first table's ranking."""
    names = dict.fromkeys(r.name for table in tables for r in table.recipes)
    return [(name, recipe_swatch(look[name])) for name in names]


def _against(pairs: Sequence[Pair], baseline: str) -> list[tuple[str, str, str]]:
    """Return (other recipe, verdict as that recipe reads it, sentence) of comparisons with the baseline."""
    seen = [(seen_from(pair, baseline), pair.sentence) for pair in pairs]
    return [(p.a, "worse" if p.verdict == "better" and (p.difference or 0) < 0 else p.verdict, s) for p, s in seen]


def _view(summary: Summary, table: Table, look: Mapping[str, Look], key: str) -> View:
    metric, baseline = summary.metric_title, summary.baseline
    against = [seen_from(p, baseline) for p in table.pairs if baseline in {p.a, p.b}]
    order = {r.name: i for i, r in enumerate(table.recipes)}
    against.sort(key=lambda p: order.get(p.a, len(order)))
    encoders = in_order(r.encoder for r in table.recipes)
    validation, loss = table.validation_curves, table.loss_curves
    return View(
        key=key,
        title=table_title(table),
        table=table,
        ranking=_both(partial(ranking, table, look, metric=metric, baseline=baseline), f"{key}-rank"),
        ranked=ranking_table(table, metric=metric, baseline=baseline),
        forest=_both(partial(forest, against, metric=metric, baseline=baseline), f"{key}-forest") if against else None,
        against=pair_table(against, caption=f"each recipe minus {baseline}, in {metric}", baseline=baseline)
        if against
        else None,
        pairs=pair_table(table.pairs, caption=f"every pair of recipes, in {metric}") if table.pairs else None,
        matrix=matrix(table) if len(table.recipes) > 2 else None,
        validation=over_steps(validation, look, what="Validation score", name=f"{key}-val") if validation else None,
        loss=over_steps(loss, look, what="Training loss", name=f"{key}-loss") if loss else None,
        steps=steps_table(table) if validation else None,
        rounds=round_table(table),
        change=_change(table.layers, look, key),
        maps=tuple(_maps(table, key)),
        classes=class_tables(table),
        metrics=tuple(grid for grid in metric_tables(table) if len(grid.columns) > 1),
        outcomes=outcome_table(table),
        unseen=tuple(_unseen(summary, table)),
        fused=fused_tables(table, metric),
        gazes=gazes(table) if key == "t0" else (),
        pointing=pointing_tables(table),
        runs=_repeats(summary, table),
        encoder=encoders[0] if len(encoders) == 1 else "",
        across=across(table, summary, key),
    )


def _unseen(summary: Summary, table: Table) -> Iterator[tuple[Unseen, Grid, Grid | None]]:
    """Yield the data sets that nothing has looked at, each with its tables."""
    metric, larger = summary.metric_title, summary.larger_is_better
    for one in table.unseen:
        yield one, unseen_table(table, one, metric=metric, larger_is_better=larger), unseen_pairs(one, metric)


def _both(draw: Any, name: str) -> Drawn:
    """Draw a figure wide and narrow, under two names."""
    return both(lambda width: draw(name=f"{name}-{width:.0f}", width=width))


def _change(layers: Sequence[Layer], look: Mapping[str, Look], key: str) -> Drawn | None:
    if all(layer.change is None for layer in layers):
        return None
    return _both(partial(change, layers, look), f"{key}-change")


def _maps(table: Table, key: str) -> list[tuple[str, Markup]]:
    """Heat maps of similarity: before and after training, then between recipes."""
    found = []
    for field, title in MEASURES:
        cells = {(one.recipe, one.stage): getattr(one, field) for one in table.layers}
        known = [at for at, value in cells.items() if value is not None]
        if known:
            rows, columns = in_order(r for r, _ in known), in_order(s for _, s in cells)
            text = f"Features before and after training: {title} by recipe and stage"
            found.append((text, heatmap(rows, columns, cells, what=text, name=f"{key}-{field}")))
    names = [r.name for r in table.recipes if r.name in table.similarity]
    if names:
        between = {(a, b): v for a, row in table.similarity.items() for b, v in row.items()}
        text = "Features of two recipes after training: linear CKA of the deepest layer, same fold and seed"
        if table.similarity_baseline is not None:
            text += f". For comparison, two seeds of one recipe: {table.similarity_baseline:.2f}"
        found.append((text, heatmap(names, names, between, what=text, name=f"{key}-between")))
    return found


def _efficiency(summary: Summary, look: Mapping[str, Look]) -> list[tuple[str, Drawn]]:
    found = []
    for i, (dataset, curves) in enumerate(summary.efficiency.items()):
        drawable = [curve for curve in curves if curve.x]
        if drawable:
            draw = partial(efficiency, drawable, look, metric=summary.metric_title)
            found.append((dataset, _both(draw, f"efficiency{i}")))
    return found


def _coverage(table: Table | None) -> tuple[Drawn, Grid] | None:
    if table is None:
        return None
    shares = [(r.name, r.coverage) for r in table.recipes if r.coverage]
    return (_both(partial(coverage, shares), "coverage"), share_table(shares)) if shares else None


def _cases(summary: Summary) -> list[tuple[str, tuple[Shown, ...]]]:
    """Return the test cases to show of each data set, with the most labels that it was trained with."""
    first = {table.dataset: table for table in reversed(summary.tables)}
    found = [(table, shown_cases(table, f"case{i}")) for i, table in enumerate(first.values())]
    return [(table_title(table), shown) for table, shown in reversed(found) if shown]


def _repeats(summary: Summary, table: Table) -> str:
    """Count what was repeated: 7 recipes, 3 seeds, 4 folds."""
    keys = [
        r.key for r in summary.runs if (r.key.dataset, r.key.label_fraction) == (table.dataset, table.label_fraction)
    ]
    parts = [counted(len(table.recipes), "recipe")]
    parts += [counted(len({k.seed for k in keys}), "seed"), counted(len({k.fold for k in keys}), "test fold")]
    return ", ".join([*parts, counted(table.n_units, table.unit), counted(table.n_cases, "test case")])
