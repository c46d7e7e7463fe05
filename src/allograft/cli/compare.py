"""allograft compare: what a study found, in a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AsJson, emit_json, out, table

if TYPE_CHECKING:
    from allograft.study.chain import Chain
    from allograft.study.domain_gap import Shifted
    from allograft.study.label_need import Saving
    from allograft.study.pretext_stage import PretextStage
    from allograft.study.summary import Summary, Table

__all__ = ["as_data", "compare", "show"]


def compare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    as_json: AsJson = False,
) -> None:
    """Say which recipe won, by how much, and whether the difference is real."""
    from allograft.study.summarise import summarise

    summary = summarise(folder)
    if as_json:
        emit_json(as_data(summary))
    else:
        show(summary)


def as_data(summary: Summary) -> dict[str, Any]:
    """Return the headline table's recipes and pairs, and every table beside them."""
    tables = [_table(t) for t in summary.tables]
    first = tables[0] if tables else {"recipes": [], "pairs": []}
    return {
        "study": summary.study,
        "metric": summary.metric,
        "headline": list(summary.headline),
        "warnings": list(summary.warnings),
        "recipes": first["recipes"],
        "pairs": first["pairs"],
        "tables": tables,
        "chains": {name: _chain(chain) for name, chain in summary.chains.items() if len(chain.steps) > 1},
        "pruned": [p.model_dump(mode="json") for p in summary.pruned],
        **({"left_out": [o.model_dump(mode="json") for o in summary.left_out]} if summary.left_out else {}),
        "label_needs": [n.model_dump(mode="json") for n in summary.label_needs],
        **({"pretexts": [_pretext(p) for p in summary.pretexts]} if summary.pretexts else {}),
        "waiting": [w.model_dump(mode="json") for w in summary.waiting],
        "failures": [f.model_dump(mode="json", exclude={"traceback"}) for f in summary.failures],
        "runs": {"finished": len(summary.runs), "planned": summary.planned},
    }


def _table(t: Table) -> dict[str, Any]:
    recipes = [
        {
            "name": r.name,
            "mean": r.estimate.mean,
            "ci": _ci(r.estimate.low, r.estimate.high),
            "n_units": r.estimate.n_units,
        }
        for r in t.recipes
    ]
    fields = {
        "a",
        "b",
        "difference",
        "ci",
        "test",
        "unit",
        "n_units",
        "p",
        "p_adjusted",
        "verdict",
        "margin",
        "sentence",
    }
    pairs = [p.model_dump(mode="json", include=fields) for p in t.pairs]
    unseen = [u.model_dump(mode="json") for u in t.unseen]
    found = {"dataset": t.dataset, "label_fraction": t.label_fraction, "recipes": recipes, "pairs": pairs}
    shift = t.shift.model_dump(mode="json", exclude={"maps": {"__all__": {"file"}}}) if t.shift else {}
    further = {"unseen": unseen, "pointing": [one.model_dump(mode="json") for one in t.pointing], "shift": shift}
    return found | {name: rows for name, rows in further.items() if rows}


def _chain(chain: Chain) -> dict[str, Any]:
    """Return a recipe's stages without their plans' tables."""
    return {
        "run": chain.run.model_dump(mode="json"),
        "stages": [step.model_dump(mode="json", exclude={"rows"}) for step in chain.steps],
    }


def _pretext(stage: PretextStage) -> dict[str, Any]:
    """Return a stage without labels in numbers and sentences."""
    return stage.model_dump(mode="json", exclude={"pictures"})


def _ci(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


def show(summary: Summary) -> None:
    """Write the verdict and the tables for a person."""
    for sentence in summary.headline:
        out.print(sentence, markup=False)
    for t in summary.tables:
        title = f"{t.dataset}, {t.label_fraction:.0%} of the labels: {summary.metric_title} over {t.n_units} {t.unit}s"
        rows = [
            (r.name, _number(r.estimate.mean), _span(r.estimate.low, r.estimate.high), r.runs, f"{r.seconds:.1f}")
            for r in t.recipes
        ]
        table(title, ("recipe", "mean", "95% interval", "runs", "s/run"), rows)
        pairs = [
            (f"{p.a} - {p.b}", _number(p.difference), _span(*(p.ci or (None, None))), _chance(p.p_adjusted), p.verdict)
            for p in t.pairs
        ]
        table(
            "pairs (positive: the first is better)", ("pair", "difference", "95% interval", "Holm p", "verdict"), pairs
        )
        _show_unseen(t, summary)
        if t.shift is not None:
            _show_shift(t.shift, t, summary)
    _show_left_out(summary)
    _show_label_needs(summary)
    for stage in summary.pretexts:
        out.print(f"{stage.recipe} on {stage.dataset}, without labels: {' '.join(stage.sentences)}", markup=False)
    _show_chains(summary)
    for one in summary.pruned:
        out.print(f"{one.recipe} on {one.dataset}: {one.reason}", markup=False)
    for warning in summary.warnings:
        out.print(f"warning: {warning}", markup=False)
    if summary.failures:
        out.print(f"{len(summary.failures)} runs failed; first: {summary.failures[0].message}", markup=False)


def _show_unseen(t: Table, summary: Summary) -> None:
    """Write what recipes lose on data that nothing of the study has seen."""
    seen = {r.name: r.estimate.mean for r in t.recipes}
    for u in t.unseen:
        rows = []
        for name, e in u.estimates.items():
            here = seen[name]
            change = None if e.mean is None or here is None else e.mean - here
            rows.append((name, _number(here), _number(e.mean), _span(e.low, e.high), _number(change)))
        title = f"unseen {u.dataset}: {summary.metric_title} over {u.n_units} {u.unit}s"
        table(title, ("recipe", "studied", "unseen", "95% interval", "change"), rows)


def _show_shift(shift: Shifted, t: Table, summary: Summary) -> None:
    """Write what recipes recover of a shift, and their scores by domain."""
    out.print(shift.rule, markup=False)
    rows = [
        (
            r.recipe,
            _number(r.gain.mean),
            _span(r.gain.low, r.gain.high),
            "-" if r.share is None else f"{r.share:.0%}",
            "-" if r.low is None or r.high is None else f"{r.low:.0%} to {r.high:.0%}",
            r.verdict,
            r.selection,
        )
        for r in shift.recovered
    ]
    columns = ("recipe", "gain", "95% interval", "share of gap", "95% interval", "verdict", "weights chosen")
    if rows:
        table(f"{t.dataset}: against {shift.source_only} on {', '.join(shift.target)}", columns, rows)
    by_domain = [
        (r.name, *(_number(d.estimates[r.name].mean if r.name in d.estimates else None) for d in shift.domains))
        for r in t.recipes
    ]
    if shift.domains:
        named = [f"{d.name} ({d.side}, {d.n_units})" for d in shift.domains]
        table(f"{t.dataset}: {summary.metric_title} by domain", ("recipe", *named), by_domain)


def _show_left_out(summary: Summary) -> None:
    """Write recipes over domains that were left out in turn."""
    for one in summary.left_out:
        out.print(one.sentence, markup=False)
        rows = [(n, _number(one.means[n]), *(_number(v[d]) for d in one.domains)) for n, v in one.values.items()]
        table(f"{one.dataset}: each domain left out in turn", ("recipe", "mean", *one.domains), rows)


def _show_label_needs(summary: Summary) -> None:
    """Write how many labels each recipe that asks for them needed, and how many fewer than random and entropy."""
    for need in summary.label_needs:
        fewer = {(s.recipe, s.against): s for s in need.savings}
        against = list(dict.fromkeys(s.against for s in need.savings))
        rows = []
        for n in need.needs:
            labels = f"{n.labels:g}" if n.labels is not None else f"> {n.at_least:g}"
            got = sum(value is not None for value in n.by_seed.values())
            compared = (_fewer(fewer.get((n.recipe, other))) for other in against)
            rows.append((n.recipe, n.acquisition, labels, f"{got}/{len(n.by_seed)}", *compared))
        columns = ("recipe", "asks by", "labels", "seeds there", *(f"fewer than {name}" for name in against))
        table(f"{need.dataset}: labels needed for {need.target:.3f} ({need.rule})", columns, rows)


def _fewer(s: Saving | None) -> str:
    if s is None or s.percent is None:
        return "-"
    interval = "" if s.low is None or s.high is None else f" ({s.low:.0f} to {s.high:.0f})"
    return f"{'' if s.bound == 'equal' else s.bound + ' '}{s.percent:.0f} %{interval}"


def _show_chains(summary: Summary) -> None:
    """Write the stages of recipes that train in several, each of one run."""
    rows = [
        (
            name,
            s.stage,
            " + ".join(s.data),
            s.source or "fresh values",
            s.steps,
            f"{s.lr:g}",
            f"{s.metric} {_number(s.validation)}" if s.metric else "-",
            s.proof or "-",
        )
        for name, chain in summary.chains.items()
        if len(chain.steps) > 1
        for s in chain.steps
    ]
    if rows:
        columns = ("recipe", "stage", "learns", "begun with", "steps", "rate", "validation", "proof")
        table("chains: each recipe's first finished run, stage by stage", columns, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _chance(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
