"""allograft select: which images of a pool to label next."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from allograft.cli.console import AsJson, emit_json, err, out, progress
from allograft.cli.data_options import ImageColumn, manifest_spec
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.procedures.acquisition.acquisition import Acquisition
    from allograft.study.select import Selection
    from allograft.study.winner import Chosen

__all__ = ["select"]


def select(
    networks: Annotated[Path, typer.Argument(metavar="DIR_OR_RUN", help="A study's folder (its winner), or a run's.")],
    pool: Annotated[
        list[str], typer.Argument(metavar="POOL...", help="Images without labels: files, folders, tables.")
    ],
    count: Annotated[int, typer.Option("--n", min=1, help="How many images to label.")] = 20,
    out_file: Annotated[Path, typer.Option("--out", help="The table; thumbnails go into a page beside it.")] = Path(
        "to_label.csv"
    ),
    acquisition: Annotated[
        str, typer.Option(help="random, entropy, margin, bald, k_centre, medal or o_medal.")
    ] = "medal",
    labelled: Annotated[
        list[str] | None, typer.Option(help="Images that are labelled; by default the study's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random draws.")] = 0,
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    image: ImageColumn = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the images that a label would help most, the most wanted first; label them with `allograft label`."""
    from allograft.report.choices import write_choices
    from allograft.study.winner import choose

    page = out_file.with_suffix(".html")
    _require_free(out_file, page, force=force)
    method = _resolved(acquisition)
    chosen = choose(networks, dataset=dataset)
    found = _selected(chosen, method, _Pool(pool, labelled, image), (count, seed), quiet=as_json)
    said = (chosen.said, f"{len(found.picks)} of {found.of} images, chosen by {method.name}.")
    _write(out_file, found)
    write_choices(page, [(p.score, p.thumbnail) for p in found.picks], said=said, score_is=found.score_is)
    if as_json:
        emit_json({"table": str(out_file), "page": str(page), "networks": chosen.said, **_as_data(found)})
        return
    for sentence in (*said, f"{out_file}; thumbnails: {page}. They hold the images: they are as private."):
        out.print(sentence, markup=False)
    for message in found.failed[:20]:
        err.print(f"not used: {message}", markup=False)


def _as_data(found: Selection) -> dict[str, Any]:
    rows = [{"case": p.item.name, "rank": i, "score": p.score} for i, p in enumerate(found.picks, start=1)]
    return {"score_is": found.score_is, "of": found.of, "picks": rows, "failed": list(found.failed)}


class _Pool(NamedTuple):
    """What the user names: images without labels, images with labels, columns of tables."""

    unlabelled: list[str]
    labelled: list[str] | None
    columns: list[str] | None


def _require_free(*paths: Path, force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            msg = f"{path}: exists already and is not overwritten. Choose another --out, or say --force."
            raise ConfigError(msg)


def _selected(chosen: Chosen, method: Acquisition, pool: _Pool, draw: tuple[int, int], *, quiet: bool) -> Selection:
    """Find the images and choose (count, seed) of them; those that are labelled are not asked for."""
    from allograft.infer.inputs import find_inputs
    from allograft.study.select import labelled_inputs, select

    dims, channels = _input_of(chosen.bundles[0])
    find = partial(find_inputs, dims=dims, manifest=manifest_spec(image=pool.columns), channels=channels)
    known = find(pool.labelled) if pool.labelled else labelled_inputs(chosen)
    there = {ref for item in known for ref in item.refs}
    items = tuple(item for item in find(pool.unlabelled) if not there & set(item.refs))
    with progress("images", quiet=quiet) as tick:

        def on_image(done: int) -> None:
            tick(done, len(items))

        return select(chosen, items, method, draw[0], labelled=known, seed=draw[1], on_image=on_image)


def _resolved(name: str) -> Acquisition:
    from allograft import catalog

    try:
        found: Acquisition = catalog.resolve("acquisition", name)
    except ValueError as error:
        msg = f"--acquisition: {error}"
        raise ConfigError(msg) from error
    return found


def _input_of(bundle: Path) -> tuple[int, int]:
    """Return the axes and channels of the images that a bundle takes."""
    from allograft.infer.bundle import Bundle

    found = Bundle.model_validate_json((bundle / "bundle.json").read_text(encoding="utf-8"))
    return found.net.dims, found.in_channels


def _write(path: Path, found: Selection) -> None:
    from allograft.core.atomic import write_text
    from allograft.study.desk import ASKED_COLUMNS, asked_row, table

    rows = [
        {**asked_row(p.item.name, p.item.refs), "rank": str(rank), "score": f"{p.score:.6g}"}
        for rank, p in enumerate(found.picks, start=1)
    ]
    write_text(path, table((*ASKED_COLUMNS, "rank", "score"), rows))
