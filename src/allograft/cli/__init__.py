"""The command line: one command a file; heavy imports happen inside commands."""

from __future__ import annotations

import sys

import typer

from allograft.cli import (
    audit,
    compare,
    datasets,
    demo,
    evaluate,
    init,
    methods,
    plan,
    predict,
    report,
    study,
    weights,
)
from allograft.cli.console import fail
from allograft.core.errors import AllograftError

__all__ = ["app", "main"]

app = typer.Typer(
    name="allograft",
    help="Which pretrained weights, moved over how, give the best model on my images, and is the difference real?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

for command in (demo.demo, audit.audit, init.init, plan.plan, study.study, report.report, compare.compare):
    app.command()(command)
for command in (predict.predict, evaluate.evaluate, methods.methods):
    app.command()(command)
app.add_typer(weights.app, name="weights")
app.add_typer(datasets.app, name="datasets")


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1."""
    try:
        app()
    except AllograftError as error:
        fail(error)
        sys.exit(1)
