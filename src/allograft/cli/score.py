"""allograft score: which source promises most for these images, before anything is trained."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allograft.cli.console import AsJson, Plugin, emit_json, out, progress, table

if TYPE_CHECKING:
    from allograft.study.scores import DataScores, Scores, StartScore

__all__ = ["score"]


def score(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="The study's folder, finished or not: keeps features, compares with its runs."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="An estimator, again for more; the first ranks. All where none is named.")
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of the training labels to read, one of the study's; the smallest if none."),
    ] = None,
    plugin: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Rank the starts of a study by what their features say of the training cases; decides nothing."""
    from allograft import catalog
    from allograft.study.grid import read_study
    from allograft.study.scoring import score_file

    for module in plugin or []:
        catalog.allow_plugin(module)
    found = read_study(file)
    with ExitStack() as stack:
        folder = out_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="allograft-score-"))) / "study"
        tick = stack.enter_context(progress(f"score {found.study}", quiet=as_json))
        scores = score_file(
            found,
            folder,
            base=file.resolve().parent,
            plugins=tuple(plugin or ()),
            by=by or (),
            fraction=fraction,
            tick=tick,
        )
    if as_json:
        emit_json(scores.model_dump(mode="json"))
    else:
        show(scores)


def show(scores: Scores) -> None:
    """Write the ranking, what is missing and how far it can be trusted."""
    from allograft.study.estimators import ESTIMATORS

    titles = {name: ESTIMATORS[name].title for name in scores.by}
    for one in scores.tables:
        names = [name for name in scores.by if name in one.starts[0].values]
        title = f"{one.dataset}: {one.cases} training cases of {one.units} {one.unit}s; larger promises more"
        columns = ("rank", "recipes", *(titles[name] for name in names), "s")
        table(title, columns, [_row(start, names) for start in one.starts])
        for note in one.notes:
            out.print(f"  {note}", markup=False)
        for reason in _reasons(one, titles):
            out.print(f"  {reason}", markup=False)
        _show_agreement(one, titles, scores.metric)
    out.print("An estimate of promise, not a result: it may order or prune recipes (prune:), never decide.")


def _row(start: StartScore, names: list[str]) -> tuple[object, ...]:
    values = [start.values[name].value for name in names]
    spent = start.seconds + sum(value.seconds for value in start.values.values())
    cells = ["n/a" if value is None else f"{value:.3g}" for value in values]
    return (start.ranks.get(names[0], "-"), ", ".join(start.recipes), *cells, f"{spent:.1f}")


def _reasons(one: DataScores, titles: dict[str, str]) -> list[str]:
    """Return why estimates are missing, alike reasons together."""
    found: dict[str, list[str]] = {}
    for start in one.starts:
        for name, value in start.values.items():
            if value.value is None:
                found.setdefault(f"{start.recipes[0]}: {value.reason}", []).append(titles[name])
    return [f"{', '.join(names)} of {reason}" for reason, names in found.items()]


def _show_agreement(one: DataScores, titles: dict[str, str], metric: str) -> None:
    """Write how each estimate agrees with finished runs."""
    if not one.agreement:
        out.print("  no finished runs to compare with (--out DIR names the study's folder)", markup=False)
        return
    rows = []
    for name, found in one.agreement.items():
        interval = "-" if found.interval is None else f"{found.interval[0]:.2f} to {found.interval[1]:.2f}"
        rows.append(
            (titles[name], _number(found.weighted_tau), interval, _number(found.kendall), f"{found.regret:.3f}")
        )
    sources = max(found.sources for found in one.agreement.values())
    title = f"agreement with {metric} of finished runs, {sources} starts"
    table(title, ("estimate", "weighted tau", "95% interval", "Kendall tau", "top-1 regret"), rows)
    for warning in dict.fromkeys(found.warning for found in one.agreement.values() if found.warning):
        out.print(f"  {warning}", markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
