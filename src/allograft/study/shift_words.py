"""ShiftWords: what a shift costs and what is recovered, in plain sentences. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allograft.metrics.metric import Metric
from allograft.stats.verdict import MIN_UNITS
from allograft.study.compared import Estimate
from allograft.study.domain_gap import Recovered, Shifted

__all__ = ["LABELS", "cost_words", "gap_words", "recovered_words", "selection_words", "shift_words"]

LABELS = {
    "source": "source",
    "target": "target, all",
    "few": "target, a few",
    "both": "source and a few of target",
}
"""Whose labels a recipe learns from, by the word of the study file."""

BLIND = ("entropy", "importance")
"""What chooses weights without a label of the target."""


def selection_words(recipe: Mapping[str, Any], default: str) -> str:
    """Return what chose a recipe's weights and rates: source labels, target labels, or none of the target."""
    chosen = recipe.get("selects_by", default)
    if chosen in BLIND:
        return f"{chosen}, blind"
    return f"{chosen}, {'target' if recipe.get('learn') == 'target' else 'source'} labels"


def cost_words(found: Shifted, metric: Metric) -> str:
    """Say what the shift costs source-only training, or why that cannot be told; empty where it was not measured."""
    cost = found.cost
    if cost is None or cost.home.mean is None or cost.away.mean is None or cost.lost.mean is None:
        return ""
    where = (
        f"from {_number(cost.home.mean)} {metric.title} on test cases of {_list(found.source or ('the source',))} "
        f"to {_number(cost.away.mean)} on {_list(found.target)}"
    )
    lost, ends = cost.lost.mean, _ends(cost.lost)
    if not ends:
        few = cost.lost.n_units < MIN_UNITS
        why = f"with {cost.lost.n_units} units on a side nobody can tell" if few else "its error cannot be estimated"
        return f"{found.source_only} goes {where}: whether that is the shift's doing, {why}."
    if cost.lost.low is not None and cost.lost.low > 0:
        return f"{found.source_only} loses {_number(lost)} by the shift, {where} ({ends})."
    if cost.lost.high is not None and cost.lost.high < 0:
        return f"{found.source_only} does better by {_number(-lost)} on the target, {where} ({ends})."
    return f"{found.source_only} is not shown to lose by the shift: it goes {where} (lost {_number(lost)}, {ends})."


def gap_words(found: Shifted, unit: str, metric: Metric) -> str:
    """Say how large the gap to target-supervised training is, and whether shares of it can be given."""
    gap = found.gap
    if found.source_only is None or found.target_supervised is None or gap is None or gap.mean is None:
        return f"{found.rule} No share of a gap can be given."
    what = f"the gap between {found.source_only} and {found.target_supervised} on {_list(found.target)}"
    if gap.n_units < MIN_UNITS:
        return (
            f"Cannot tell whether there is a gap: {what} is {_number(gap.mean)} {metric.title} over {gap.n_units} "
            f"{unit}s, and at least {MIN_UNITS} independent ones are needed. No share is given."
        )
    if not found.gap_shown:
        ends = _ends(gap) or "without an interval"
        return f"No share is given: {what} is {_number(gap.mean)} {metric.title} ({ends}), not shown to be above 0."
    return f"{what[:1].upper()}{what[1:]} is {_number(gap.mean)} {metric.title} ({_ends(gap)})."


def recovered_words(row: Recovered, found: Shifted, unit: str, metric: Metric) -> str:
    """Say what one recipe recovers or loses, and whether that is shown."""
    if row.verdict == "cannot tell":
        return f"{row.recipe}: cannot tell; {_gained(row.gain, metric)} over {row.gain.n_units} {unit}s."
    p = "" if row.p_adjusted is None else f"Holm p {'< 0.001' if row.p_adjusted < 0.001 else f'= {row.p_adjusted:.3f}'}"
    verdict = {
        "better": f"better than {found.source_only}",
        "worse": f"worse than {found.source_only}: it loses by adapting",
        "equivalent": f"equivalent to {found.source_only}",
    }.get(row.verdict, f"not shown to differ from {found.source_only}")
    if row.share is None:
        why = "; no share of the gap can be given" if found.gap_shown else ""
        return f"{row.recipe}: {_gained(row.gain, metric)}, {verdict} ({p}){why}."
    ends = "no interval" if row.low is None or row.high is None else _span(row.low, row.high)
    does = "recovers" if row.share >= 0 else "goes the wrong way by"
    return f"{row.recipe} {does} {_percent(abs(row.share))} of the gap (share {ends}): {verdict} ({p})."


def shift_words(found: Shifted, unit: str, metric: Metric) -> tuple[str, ...]:
    """Return the finding, the most important first: what methods recover, the gap, the cost."""
    said = []
    if found.recovered:
        said.append(_methods(found))
    return tuple(s for s in (*said, gap_words(found, unit, metric), cost_words(found, metric)) if s)


def _methods(found: Shifted) -> str:
    """Say which methods are shown to help, which to harm, and which neither."""
    where = f"From {_list(found.source)} to {_list(found.target)}" if found.source else f"On {_list(found.target)}"
    if all(row.verdict == "cannot tell" for row in found.recovered):
        few = found.recovered[0].gain.n_units < MIN_UNITS
        why = "there are too few independent units" if few else "no valid test exists for these values"
        return f"{where}, nobody can tell whether a method helps: {why}."
    better, worse, open_ = (
        [row for row in found.recovered if (row.verdict if row.verdict in {"better", "worse"} else "") == word]
        for word in ("better", "worse", "")
    )
    parts = []
    if better:
        shared = all(row.share is not None for row in better)
        does = (
            _does(better, "recover") + " part of the gap"
            if shared
            else _does(better, "do") + f" better than {found.source_only}"
        )
        parts.append(f"{_list([_shared(row) for row in better])} {does}")
    if worse:
        parts.append(f"{_list([row.recipe for row in worse])} {_does(worse, 'do')} worse than {found.source_only}")
    if open_:
        is_ = "is" if len(open_) == 1 else "are"
        parts.append(f"{_list([row.recipe for row in open_])} {is_} not shown to change anything")
    return f"{where}, {'; '.join(parts)}."


def _does(rows: Sequence[Recovered], verb: str) -> str:
    """Return the verb as it goes with one recipe or several."""
    return verb if len(rows) > 1 else {"do": "does"}.get(verb, f"{verb}s")


def _shared(row: Recovered) -> str:
    """Return a recipe with its share."""
    if row.share is None:
        return row.recipe
    ends = "" if row.low is None or row.high is None else f"; {_span(row.low, row.high)}"
    return f"{row.recipe} ({_percent(row.share)}{ends})"


def _gained(gain: Estimate, metric: Metric) -> str:
    mean = gain.mean or 0.0
    return f"{'gains' if mean >= 0 else 'loses'} {_number(abs(mean))} {metric.title}"


def _ends(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else f"95 % CI {_number(one.low)} to {_number(one.high)}"


def _span(low: float | None, high: float | None) -> str:
    return f"95 % CI {_percent(low or 0.0)} to {_percent(high or 0.0)}"


def _percent(share: float) -> str:
    """Write a share; what is ten gaps away is only said to be that far."""
    text = f"{100 * share:.0f} %" if abs(share) <= 10 else f"{'below -' if share < 0 else 'above '}1000 %"
    return "0 %" if text == "-0 %" else text.replace("-", "−")


def _number(value: float) -> str:
    text = f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1g}"
    return text.replace("-", "−")


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
