"""allograft study: run every recipe on the same folds and write results and report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allograft.cli.compare import as_data, show
from allograft.cli.console import AcceptLicence, AsJson, Plugin, emit_json, err, out, progress
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.study.execute import Executor
    from allograft.study.grid import Study
    from allograft.study.outcome import Done, Failed, Waiting
    from allograft.study.prepared import Launch
    from allograft.study.summary import Summary

__all__ = ["seconds_of", "study"]


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for runs, results and report.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes one for each core.")] = 0,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str, typer.Option(help="Address of a Ray cluster; empty starts one here.")] = "",
    budget: Annotated[str, typer.Option(help="Time allowed, like 30m or 2h; whole seeds for all recipes.")] = "",
    accept_licence: AcceptLicence = None,
    plugin: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Train every recipe on the same folds with paired seeds; run again to continue."""
    from allograft import catalog
    from allograft.report.write import write_report
    from allograft.study.grid import read_study
    from allograft.study.prepared import Launch, processors

    for module in plugin or []:
        catalog.allow_plugin(module)
    launch = Launch(
        base=file.resolve().parent,
        workers=workers or processors(),
        plugins=tuple(plugin or ()),
        commands=(" ".join([f"allograft study {file} --out {out_dir}", *_accepted(accept_licence)]),),
    )
    seconds = seconds_of(budget) if budget else None
    where = _executor(executor, workers, address)
    found = read_study(file).accepting(accept_licence or ())
    _show_licences(found, launch)
    summary = _watched(found, out_dir, launch, where, seconds, quiet=as_json)
    page = write_report(summary, out_dir / "report.html")
    if as_json:
        emit_json({**as_data(summary), "report": str(page), "results": str(out_dir / "results.parquet")})
    else:
        show(summary)
        out.print(f"report: {page}", markup=False)
    _say_unfinished(summary)
    if summary.failures:
        raise typer.Exit(1)


def _say_unfinished(summary: Summary) -> None:
    """Say which runs failed, and which labels others wait for."""
    if summary.failures:
        err.print(f"{len(summary.failures)} runs failed; they are listed in the report and tried again next time.")
    for message in dict.fromkeys(one.message for one in summary.waiting):
        err.print(message, markup=False)
    if summary.waiting:
        err.print(f"{len(summary.waiting)} runs wait for labels; run the study again to continue them.")


def _accepted(names: list[str] | None) -> list[str]:
    """Return how the accepted licences are said on the command line."""
    return [f"--accept-licence {name}" for name in names or ()]


def _show_licences(found: Study, launch: Launch) -> None:
    """Write the licence of each set of weights that the study names."""
    from allograft.study.provenance import licence_lines

    for line in licence_lines(found, launch.base):
        err.print(line, markup=False)


def _watched(
    found: Study, out_dir: Path, launch: Launch, executor: Executor | None, seconds: float | None, *, quiet: bool
) -> Summary:
    """Conduct the study with one bar: first the images, then the runs."""
    from allograft.study.conduct import conduct

    with progress(found.study, quiet=quiet) as tick:
        done = [0]

        def on_outcome(outcome: Done | Failed | Waiting, total: int) -> None:
            done[0] += 1
            key = outcome.key
            tick(done[0], total, f"{key.recipe} fold {key.fold} seed {key.seed} {outcome.kind}")

        def on_image(seen: int, total: int) -> None:
            tick(seen, total, "images looked at")

        return conduct(
            found, out_dir, launch=launch, executor=executor, seconds=seconds, on_outcome=on_outcome, on_image=on_image
        )


def seconds_of(text: str) -> float:
    """Turn "90s", "30m" or "2h" into seconds.

    Raises:
        ConfigError: the text is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if not match:
        msg = f'--budget "{text}": expected a number with s, m or h, like 90s, 30m or 2h.'
        raise ConfigError(msg)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _executor(name: str, workers: int, address: str) -> Executor | None:
    """Return the executor that was asked for; None lets the study choose local processes."""
    if name == "local":
        return None
    if name == "ray":
        from allograft.study.executors.ray import RayExecutor

        return RayExecutor(address=address or None, pending=max(2, 2 * workers))
    msg = f'--executor "{name}": expected local or ray.'
    raise ConfigError(msg)
