"""allograft plan: every tensor's fate in every recipe, in seconds, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AcceptLicence, AsJson, Plugin, emit_json, out

if TYPE_CHECKING:
    from allograft.study.planning import Planned

__all__ = ["plan"]


def plan(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="A row per tensor instead of per stage.")] = False,
    accept_licence: AcceptLicence = None,
    plugin: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Print what becomes of every tensor in every stage of every recipe; exits 1 where a plan has problems."""
    from allograft import catalog
    from allograft.study.grid import read_study
    from allograft.study.planning import plan_study
    from allograft.weights.table import table

    for module in plugin or []:
        catalog.allow_plugin(module)
    plans = plan_study(read_study(file).accepting(accept_licence or ()), base=file.resolve().parent)
    if as_json:
        emit_json({"plans": [_row(p, tensors=tensors) for p in plans]})
    else:
        for p in plans:
            alone = sum(q[:2] == p[:2] for q in plans) == 1
            where = "" if alone else f", stage {p.stage} ({', '.join(p.data)}; {p.steps} steps)"
            out.rule(f"{p.recipe} on {p.dataset}{where}", align="left")
            out.print(table(p.plan, by="tensor" if tensors else "stage"), markup=False)
    if any(p.plan.problems for p in plans):
        raise typer.Exit(1)


def _row(p: Planned, *, tensors: bool) -> dict[str, Any]:
    """Return one stage's plan as JSON has it."""
    return {
        "recipe": p.recipe,
        "dataset": p.dataset,
        "stage": p.stage,
        "data": list(p.data),
        "steps": p.steps,
        "id": p.plan.content_id(),
        "coverage": p.plan.coverage().model_dump(),
        "problems": list(p.plan.problems),
        "notes": list(p.plan.notes),
        "unused": [u.model_dump(mode="json") for u in p.plan.unused],
        "entries": [e.model_dump(mode="json") for e in p.plan.entries] if tensors else None,
    }
