"""allograft datasets: the data sets that allograft knows how to get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import yaml

from allograft.cli.console import AsJson, as_rows, emit_json, progress, table
from allograft.core.errors import ConfigError, did_you_mean

__all__ = ["app"]

app = typer.Typer(help="Data sets: licence, origin, counts.", no_args_is_help=True)


@app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets with their licences."""
    from allograft.catalog import DATASETS

    rows = [DATASETS[name]().card() for name in DATASETS]
    if as_json:
        emit_json({"datasets": rows})
        return
    table("data sets", ("name", "title", "licence"), [(r["name"], r["title"], r["licence"]) for r in rows])


@app.command()
def show(name: Annotated[str, typer.Argument(help="A data set's name.")], as_json: AsJson = False) -> None:
    """Show one data set: licence, origin, what is known of it."""
    card = _known(name).card()
    if as_json:
        emit_json(card)
    else:
        table(str(card["title"]), ("field", "value"), as_rows(card))


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A data set's name.")],
    said: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data set, KEY=VALUE, for example accept_licence=true."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a data set from its origin into the cache and validate it."""
    found = _known(name, said or [])
    with progress(name, quiet=as_json) as tick:
        cohort = found.prepare(tick)
    found.validate(cohort)
    facts = {"name": name, "cases": len(cohort), "groups": len(cohort.groups), "unit": cohort.unit}
    if as_json:
        emit_json(facts)
    else:
        table(f"{name}: complete and valid", ("fact", "value"), as_rows(facts))


def _known(name: str, said: Sequence[str] = ()):  # type: ignore[no-untyped-def]  # Dataset lives behind a heavy import
    from allograft.catalog import DATASETS
    from allograft.datasets.dataset import with_settings

    if name not in DATASETS:
        msg = f'no data set "{name}". {did_you_mean(name, DATASETS)}'
        raise ConfigError(msg)
    return with_settings(DATASETS[name], dict(map(_setting, said)), where=f'data set "{name}", --set')


def _setting(text: str) -> tuple[str, object]:
    """Return name and value of KEY=VALUE; the value is read as YAML is."""
    key, equals, value = text.partition("=")
    if not equals:
        msg = f'--set "{text}": expected KEY=VALUE, for example --set accept_licence=true.'
        raise ConfigError(msg)
    return key.strip(), yaml.safe_load(value)
