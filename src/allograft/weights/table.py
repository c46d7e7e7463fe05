"""table: a plan as plain text and as rows, for people who want to know what was transferred."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from allograft.weights.build import PROBLEM
from allograft.weights.plan import Entry, Learns, TransferPlan, Unused

__all__ = ["coverage_line", "stage_rows", "table", "unused_lines"]

_SHOWN = 12


def stage_rows(plan: TransferPlan) -> list[dict[str, Any]]:
    """Return one row for each group of tensors alike in stage, action, learning and reason.

    Keys: stage, value (the action, "none" for tensors with a problem), learns (text), tensors, numbers, why.
    """
    groups: dict[tuple[str, str, Learns, str], list[Entry]] = defaultdict(list)
    for entry in plan.entries:
        lost = entry.why.startswith(PROBLEM)
        value, why = ("none", f"{PROBLEM} no value") if lost else (entry.action.value, entry.why)
        groups[entry.stage, value, entry.learns, why].append(entry)
    order = {stage: i for i, stage in enumerate(dict.fromkeys(entry.stage for entry in plan.entries))}
    keys = sorted(groups, key=lambda key: order[key[0]])
    return [
        {
            "stage": stage,
            "value": value,
            "learns": _learns(learns),
            "tensors": len(groups[stage, value, learns, why]),
            "numbers": sum(entry.numbers for entry in groups[stage, value, learns, why]),
            "why": why + _variance(groups[stage, value, learns, why]),
        }
        for stage, value, learns, why in keys
    ]


def table(plan: TransferPlan, by: Literal["stage", "tensor"] = "stage") -> str:
    """Return a plan as plain text.

    Args:
        plan: the plan.
        by: "stage" groups tensors that share their fate, and neighbouring stages that are alike;
            "tensor" has a line for each tensor.
    """
    head = f"plan {plan.content_id()[:8]}   start: {plan.start}"
    head += f"   tuning: {plan.tuning}" if plan.tuning else ""
    head += f"   source: {plan.source or 'none'}"
    body = _by_stage(plan) if by == "stage" else _by_tensor(plan)
    lines = [head, *plan.notes, *_aligned(body), *unused_lines(plan), coverage_line(plan)]
    lines += [f"  problem: {text}" for text in plan.problems]
    return "\n".join(lines)


def coverage_line(plan: TransferPlan) -> str:
    """Return the shares of numbers by fate, and how many problems there are."""
    c = plan.coverage()
    shares = [(c.copied, "copied"), (c.adapted, "adapted"), (c.sampled, "sampled"), (c.computed, "computed")]
    shown = [(share, word) for share, word in shares if share > 0 or word == "copied"]
    text = " · ".join(f"{_percent(share)} {word}" for share, word in [*shown, (c.fresh, "fresh"), (c.frozen, "frozen")])
    return f"coverage  {text}    problems: {len(plan.problems) or 'none'}"


def unused_lines(plan: TransferPlan) -> list[str]:
    """Return a line for each reason why source tensors are not used."""
    if plan.source is None:
        return []
    groups: dict[str, list[Unused]] = defaultdict(list)
    for each in plan.unused:
        groups[each.why].append(each)
    if not groups:
        return ["unused    none"]
    return [
        f"unused    {len(found)} tensor{'s' if len(found) > 1 else ''} ({why}): {_names(found)}"
        for why, found in groups.items()
    ]


def _by_stage(plan: TransferPlan) -> list[tuple[str, ...]]:
    """Rows of the stage table, neighbouring stages with equal fates merged."""
    stages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in stage_rows(plan):
        stages[row["stage"]].append(row)
    merged: list[tuple[list[str], list[dict[str, Any]]]] = []
    for stage, rows in stages.items():
        if merged and _fates(merged[-1][1]) == _fates(rows):
            merged[-1][0].append(stage)
            for mine, more in zip(merged[-1][1], rows, strict=True):
                mine["tensors"] += more["tensors"]
                mine["numbers"] += more["numbers"]
        else:
            merged.append(([stage], rows))
    body: list[tuple[str, ...]] = [("stage", "value", "learns", "tensors", "numbers", "why")]
    for names, rows in merged:
        label = names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
        body += [
            (label, r["value"], r["learns"], str(r["tensors"]), f"{r['numbers']:,}".replace(",", " "), r["why"])
            for r in rows
        ]
    return body


def _fates(rows: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(row["value"], row["learns"], row["why"]) for row in rows]


def _by_tensor(plan: TransferPlan) -> list[tuple[str, ...]]:
    body: list[tuple[str, ...]] = [("tensor", "stage", "value", "learns", "shape", "source", "why")]
    for entry in plan.entries:
        source = "" if entry.source is None else f"{entry.source} {_shape(entry.source_shape or ())}"
        args = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in entry.args.items())
        why = entry.why + (f" [{args}]" if args else "")
        shape = _shape(entry.shape)
        body.append((entry.target, entry.stage, entry.action.value, _learns(entry.learns), shape, source, why))
    return body


def _aligned(body: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns of equal width; numbers to the right."""
    widths = [max(len(row[i]) for row in body) for i in range(len(body[0]))]
    right = {i for i, name in enumerate(body[0]) if name in {"tensors", "numbers"}}
    return [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in body
    ]


def _learns(learns: Learns) -> str:
    """The schedule in words: x1, frozen, "x0, x1 from step 100"."""
    if all(scale == 0 for _, scale in learns):
        return "frozen"
    return ", ".join(f"x{scale:g}" + (f" from step {step}" if step else "") for step, scale in learns)


def _variance(entries: Sequence[Entry]) -> str:
    """Say by how much sampling divided the variance for another fan-in."""
    ratios = sorted(
        {round(float(e.args["fan_in_ratio"]), 2) for e in entries if "fan_in_ratio" in e.args and len(e.shape) > 1}
    )
    if not ratios or ratios == [1.0]:
        return ""
    span = f"{ratios[0]:g}" if len(ratios) == 1 else f"{ratios[0]:g} to {ratios[-1]:g}"
    return f"; variance / {span} (fan-in)"


def _names(found: Sequence[Unused]) -> str:
    """The tensors, by their first names where there are many."""
    if len(found) <= 3:
        return ", ".join(each.source for each in found)
    parts = list(dict.fromkeys(each.source.split(".")[0] for each in found))
    return ", ".join(f"{part}.*" for part in parts[:_SHOWN]) + (" ..." if len(parts) > _SHOWN else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _percent(share: float) -> str:
    """Percent with one digit, but never 100 or 0 for what is not all or nothing."""
    text = f"{100 * share:.1f}"
    if (text == "100.0") != (share == 1) or (text == "0.0") != (share == 0):
        return "> 99.9 %" if share > 0.5 else "< 0.1 %"
    return f"{text.removesuffix('.0')} %"
