"""allograft predict: classes or label maps of new images, from a study's winner or from one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from allograft.cli.console import AsJson, emit_json, err, out, progress
from allograft.cli.data_options import HideIds, ImageColumn, manifest_spec
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.infer.ensemble import Predictor
    from allograft.infer.write_seg import Algorithm
    from allograft.study.winner import Chosen

__all__ = ["predict"]


def predict(
    networks: Annotated[Path, typer.Argument(metavar="DIR_OR_RUN", help="A study's folder (its winner), or a run's.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Images, folders, DICOM series or their zips, tables, .npy or .npz."),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for predictions.csv, about.json and label maps.")],
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Of classes: csv (default), dicom-sr. Of masks: nifti (default), dicom-seg, png, csv. "
            "May be repeated; the table is always written.",
        ),
    ] = None,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Frames of a DICOM segmentation that hold no pixel too.")
    ] = False,
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    image: ImageColumn = None,
    force: Annotated[bool, typer.Option("--force", help="Write over earlier predictions.")] = False,
    hide_ids: HideIds = False,
    as_json: AsJson = False,
) -> None:
    """Predict new images; exits 1 where some could not be used (each is a row with its error)."""
    wish = Wish(out_dir, tuple(form or ()), all_frames=all_frames, force=force, hide_ids=hide_ids)
    _check(wish)
    about, rows = _predicted(networks, inputs, wish, dataset=dataset, image=image, quiet=as_json)
    failed = [row for row in rows if row["error"]]
    path = str(out_dir / "predictions.csv")
    if as_json:
        emit_json({**about, "predictions": path, "images": len(rows), "failed": len(failed), "rows": rows})
    else:
        _show(about, path, rows)
    if failed:
        raise typer.Exit(1)


class Wish(NamedTuple):
    """What the user wants to get: where, in which formats, over what may be there already."""

    out: Path
    formats: tuple[str, ...]
    all_frames: bool
    force: bool
    hide_ids: bool


def _check(wish: Wish) -> None:
    """Refuse what can never be, before anything is opened."""
    carriers = [name for name in wish.formats if name.startswith("dicom")]
    if wish.hide_ids and carriers:
        msg = (
            f"--hide-ids: {carriers[0]} carries the patient's identity, as the standard demands. "
            "Leave out one of the two."
        )
        raise ConfigError(msg)
    if wish.all_frames and "dicom-seg" not in wish.formats:
        msg = "--all-frames: does something only with --format dicom-seg. Add it, or leave the option out."
        raise ConfigError(msg)


def _predicted(
    networks: Path, inputs: list[str], wish: Wish, *, dataset: str, image: list[str] | None, quiet: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Open networks and inputs, predict and write; return what must be known of it, and the rows."""
    from allograft import catalog
    from allograft.core.private import site_salt
    from allograft.infer.ensemble import open_bundles
    from allograft.infer.inputs import find_inputs
    from allograft.infer.outputs import choose_formats, output_files, require_free
    from allograft.infer.predict_all import Output, predict_all
    from allograft.infer.write import write_about, write_predictions
    from allograft.study.winner import choose

    require_free(wish.out, force=wish.force)
    chosen = choose(networks, dataset=dataset)
    predictor = open_bundles(chosen.bundles, catalog.parts)
    channels = predictor.first.in_channels
    items = find_inputs(inputs, dims=predictor.dims, manifest=manifest_spec(image=image), channels=channels)
    formats = choose_formats(wish.formats, predictor.task, items, dims=predictor.dims)
    salt = site_salt() if wish.hide_ids else None
    files = output_files(items, formats, salt=salt)
    names = [name for own in files for name in own.values()]
    kept = require_free(wish.out, names, force=wish.force)
    about = {**_about(chosen, predictor), "formats": list(formats), "outputs": sorted({*names, *kept})}
    write_about(wish.out, about)
    out = Output(
        folder=wish.out, files=files, algorithm=_algorithm(chosen, predictor), all_frames=wish.all_frames, salt=salt
    )
    with progress("images", quiet=quiet) as tick:
        rows = predict_all(predictor, items, out, on_image=lambda done: tick(done, len(items)))
    write_predictions(wish.out, rows)
    return about, rows


def _algorithm(chosen: Chosen, predictor: Predictor) -> Algorithm:
    """Return who speaks, as DICOM has it: the recipe, and the run or what tells this ensemble from others."""
    from hashlib import sha256
    from importlib.metadata import version

    from allograft.infer.write_seg import Algorithm

    runs = [member.bundle.run for member in predictor.members]
    several = f"{len(runs)} networks {sha256(';'.join(runs).encode()).hexdigest()[:16]}"
    name = (chosen.recipe or "allograft").replace("\\", "-")[:64]
    return Algorithm(name=name, version=runs[0] if len(runs) == 1 else several, software=version("allograft"))


def _about(chosen: Chosen, predictor: Predictor) -> dict[str, Any]:
    return {
        "networks": chosen.said,
        "recipe": chosen.recipe,
        "dataset": chosen.dataset,
        "runs": [member.bundle.run for member in predictor.members],
        "task": predictor.task.model_dump(mode="json"),
        "temperatures": [round(member.bundle.temperature, 4) for member in predictor.members],
        "notes": list(predictor.notes),
    }


def _show(about: dict[str, Any], path: str, rows: list[dict[str, Any]]) -> None:
    failed = [row for row in rows if row["error"]]
    written = sum(len(row["written"].split(";")) for row in rows if row.get("written"))
    out.print(about["networks"], markup=False)
    for note in about["notes"]:
        out.print(f"note: {note}", markup=False)
    out.print(f"predictions: {path}", markup=False)
    if written:
        out.print(f"files: {written} beside it ({', '.join(about['formats'])})", markup=False)
    for row in failed[:20]:
        err.print(f"not used: {row['error']}", markup=False)
    if failed:
        err.print(f"{len(failed)} images could not be used; each is a row with its error.", markup=False)
