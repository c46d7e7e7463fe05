"""Headline: the verdict in plain words, the most important first. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from allograft.study.summary import Pair, Pruned, Table

__all__ = ["headline", "pruned_words"]


def headline(tables: Sequence[Table], baseline: str, metric: str, *, larger_is_better: bool = True) -> tuple[str, ...]:
    """Return the verdict of a study.

    First what methods recover of a shift, where there is one; then who won and whether that is real; then each
    comparison with the baseline.

    Args:
        tables: by data set and label fraction, the most labels first.
        baseline: the baseline recipe.
        metric: the metric in words.
        larger_is_better: its direction.
    """
    if not tables:
        return ("Nothing can be said yet: no seed is finished for all recipes.",)
    said = [sentence for i, table in enumerate(tables) for sentence in _across(table, whole=i == 0)]
    for table in tables:
        where = f"On {table.dataset}" + (f" with {table.label_fraction:.0%} of the labels" if len(tables) > 1 else "")
        said.append(f"{where}: {_winner(table, metric, 'highest' if larger_is_better else 'lowest')}")
    first = tables[0]
    said += [pair.sentence for pair in first.pairs if baseline in {pair.a, pair.b}]
    return tuple(said)


def pruned_words(pruned: Sequence[Pruned]) -> tuple[str, ...]:
    """Say that recipes were left out before training, so that a verdict is not read as one about them."""
    if not pruned:
        return ()
    names = list(dict.fromkeys(one.recipe for one in pruned))
    was, they = ("was", "it") if len(names) == 1 else ("were", "they")
    return (
        f"{_list(names)} {was} left out before training by an estimate of the source; this verdict says nothing of how "
        f"{they} would have done.",
    )


def _across(table: Table, *, whole: bool) -> tuple[str, ...]:
    """Say what methods recover where a data set has a shift; of the first table also the gap and the cost."""
    said = table.shift.sentences if table.shift is not None else ()
    opened = tuple(f"On {table.dataset}: {s[:1].lower()}{s[1:]}" if i == 0 else s for i, s in enumerate(said))
    return opened if whole else opened[:1]


def _winner(table: Table, metric: str, most: str) -> str:
    """Say which recipe leads, and which others cannot be told from it."""
    best = table.recipes[0]
    if best.estimate.mean is None:
        return f"{metric} has no value on these cases; nothing can be said."
    if len(table.recipes) == 1:
        return f"{best.name} reaches {best.estimate.mean:.3f} {metric}; there is nothing to compare it with."
    lead = [recipe.name for recipe in table.recipes if recipe.estimate.mean == best.estimate.mean]
    has, it = ("has", "it") if len(lead) == 1 else ("share", best.name)
    score = f"{_list(lead)} {has} the {most} {metric} ({best.estimate.mean:.3f})"
    pairs = [pair for pair in table.pairs if best.name in {pair.a, pair.b}]
    if any(pair.verdict == "cannot tell" for pair in pairs):
        units = f"{table.n_units} {table.unit}" + ("" if table.n_units == 1 else "s")
        return f"{score}, but with {units} nobody can tell whether that is real."
    beaten = [_other(pair, best.name) for pair in pairs if pair.verdict == "better" and pair.a == best.name]
    level = [_other(pair, best.name) for pair in pairs if pair.verdict == "equivalent"]
    open_ = [_other(pair, best.name) for pair in pairs if pair.verdict == "no detectable difference"]
    if not level and not open_:
        return f"{score}, and {it} is better than every other recipe."
    parts = [f"{it} is better than {_list(beaten)}" if beaten else f"{it} is not shown to be better than any other"]
    parts += [f"equivalent to {_list(level)}"] if level else []
    parts += [f"and not detectably different from {_list(open_)}"] if open_ else []
    return f"{score}; {', '.join(parts)}."


def _other(pair: Pair, name: str) -> str:
    return pair.b if pair.a == name else pair.a


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
