"""The command line: one command a file; heavy imports happen inside commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from allograft.cli.audit import audit
from allograft.cli.compare import compare
from allograft.cli.console import fail
from allograft.cli.datasets import app as datasets
from allograft.cli.demo import demo
from allograft.cli.evaluate import evaluate
from allograft.cli.export import export
from allograft.cli.fuse import fuse
from allograft.cli.init import init
from allograft.cli.label import label
from allograft.cli.methods import methods
from allograft.cli.plan import plan
from allograft.cli.predict import predict
from allograft.cli.pretrain import pretrain
from allograft.cli.report import report
from allograft.cli.score import score
from allograft.cli.select import select
from allograft.cli.study import study
from allograft.cli.view import view
from allograft.cli.weights import app as weights
from allograft.core.errors import AllograftError

__all__ = ["app", "main"]

app = typer.Typer(
    name="allograft",
    help="Which pretrained weights, moved over how, give the best model on my images, and is the difference real?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    audit,
    init,
    plan,
    score,
    pretrain,
    study,
    report,
    compare,
    fuse,
    predict,
    evaluate,
    view,
    export,
    select,
    label,
    methods,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(datasets, name="datasets")


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1."""
    try:
        app()
    except AllograftError as error:
        fail(error)
        sys.exit(1)
