"""Chains: the way of a run from the weights it began with to the task, stage by stage, ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from allograft.report.tables import Grid, plan_table
from allograft.report.words import counted, number
from allograft.study.chain import Chain, Step
from allograft.study.summary import Summary

__all__ = ["PlanOf", "Station", "Way", "plans", "ways"]


class Station(NamedTuple):
    """A place on the way.

    Args:
        kind: "weights" at the beginning, "link" on the way, "task" at the end.
        title: what it is.
        name: as the study or the run calls it.
        facts: what is known of it, in the order of reading.
    """

    kind: str
    title: str
    name: str
    facts: Mapping[str, str]


class Way(NamedTuple):
    """A recipe's way: whose it is, of which run the numbers are, its stations, and the whole in one sentence."""

    recipe: str
    run: str
    stations: tuple[Station, ...]
    sentence: str


class PlanOf(NamedTuple):
    """A plan ready to be shown: of which stage ("" where there is one only), with its notes and what it left."""

    stage: str
    table: Grid
    notes: Sequence[str]
    unused: int | None


def ways(summary: Summary) -> tuple[Way, ...]:
    """Return the way of each recipe that trains in more than one stage, on the run that is named."""
    cards = {str(card.get("name")): card for card in summary.weight_cards}
    chained = ((name, chain) for name, chain in summary.chains.items() if len(chain.steps) > 1)
    return tuple(_way(name, chain, cards) for name, chain in chained)


def plans(summary: Summary) -> list[tuple[str, str, list[PlanOf]]]:
    """Return (recipe, coverage of the last stage, the plans of its stages)."""
    found = []
    for name, plan in summary.plans.items():
        steps = summary.chains[name].steps if name in summary.chains else ()
        if len(steps) > 1:
            each = [PlanOf(s.stage, plan_table(s.rows, f"{name}, stage {s.stage}"), s.notes, s.unused) for s in steps]
        else:
            unused = plan.get("unused")
            table = plan_table(plan.get("rows", ()), name)
            each = [PlanOf("", table, plan.get("notes", ()), unused if isinstance(unused, int) else None)]
        found.append((name, covered(str(plan.get("coverage", ""))), each))
    return found


def covered(line: str) -> str:
    """Return a plan's coverage line as the page writes it.

    >>> covered("coverage  97 % copied · 3 % fresh    problems: none")
    '97 % copied · 3 % fresh · problems: none'
    """
    return line.replace("coverage  ", "").replace("    problems", " · problems")


def _way(recipe: str, chain: Chain, cards: Mapping[str, Mapping[str, Any]]) -> Way:
    run, last = chain.run, chain.steps[-1]
    stations = [_begin(chain.steps[0], cards)]
    stations += [_station(step, "task" if step is last else "link") for step in chain.steps]
    said = ", then ".join(f"{one.title} ({one.facts.get('steps', '')} steps)" for one in stations[1:])
    return Way(
        recipe=recipe,
        run=f"{run.dataset}, fold {run.fold}, seed {run.seed}",
        stations=tuple(stations),
        sentence=f"{recipe}: from {stations[0].title} over {said}.",
    )


def _begin(first: Step, cards: Mapping[str, Mapping[str, Any]]) -> Station:
    """Return where the first stage's numbers came from."""
    if first.source is None:
        return Station("weights", "fresh values", "", {"from": f"the run's seed, by {first.start}"})
    card = cards.get(first.source, {})
    seen = card.get("has seen") or ()
    facts = {"has seen": ", ".join(map(str, seen)), "licence": str(card.get("licence") or "")}
    return Station("weights", str(card.get("title") or first.source), first.source, _known(facts))


def _station(step: Step, kind: str) -> Station:
    facts = {
        "steps": str(step.steps or ""),
        "learning rate": f"{step.lr:g}",
        f"validation {step.metric}": number(step.validation) if step.validation is not None else "",
        "begun with": f"{step.start}: {covered(step.coverage)}",
        "learns": step.tuning,
        "proof": step.proof,
    }
    title = " and ".join(step.data) or counted(1, "stage")
    return Station(kind, title, step.stage, _known(facts))


def _known(facts: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in facts.items() if value}
