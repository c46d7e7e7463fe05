"""allograft predict: probabilities for new images from a study's winner or from one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AsJson, emit_json, err, out, progress
from allograft.cli.data_options import HideIds, ImageColumn, manifest_spec
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.infer.ensemble import Predictor
    from allograft.study.winner import Chosen

__all__ = ["predict"]


def predict(
    networks: Annotated[Path, typer.Argument(metavar="DIR_OR_RUN", help="A study's folder (its winner), or a run's.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Images, folders, DICOM series, tables, .npy or .npz files.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for predictions.csv and about.json.")],
    form: Annotated[str, typer.Option("--format", help="Format of the predictions: csv.")] = "csv",
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    image: ImageColumn = None,
    force: Annotated[bool, typer.Option("--force", help="Write over existing predictions.")] = False,
    hide_ids: HideIds = False,
    as_json: AsJson = False,
) -> None:
    """Predict new images; exits 1 where some could not be used (each is a row with its error)."""
    _require_csv(form)
    from allograft import catalog
    from allograft.core.private import site_salt
    from allograft.infer.ensemble import open_bundles
    from allograft.infer.inputs import find_inputs
    from allograft.infer.predict import decode, predict_prepared
    from allograft.infer.write import prediction_rows, require_free, write_predictions
    from allograft.study.winner import choose

    require_free(out_dir, force=force)
    chosen = choose(networks, dataset=dataset)
    predictor = open_bundles(chosen.bundles, catalog.parts)
    items = find_inputs(inputs, dims=predictor.dims, manifest=manifest_spec(image=image))
    with progress("images", quiet=as_json) as tick:
        images = decode(items, predictor)
        found = list(predict_prepared(predictor, images, on_image=lambda done: tick(done, len(items))))
    rows = prediction_rows(found, predictor.task, len(predictor), salt=site_salt() if hide_ids else None)
    about = _about(chosen, predictor)
    path = write_predictions(out_dir, rows, about)
    failed = [row for row in rows if row["error"]]
    if as_json:
        emit_json({**about, "predictions": str(path), "images": len(rows), "failed": len(failed), "rows": rows})
    else:
        _show(chosen, predictor, path, failed)
    if failed:
        raise typer.Exit(1)


def _require_csv(form: str) -> None:
    if form != "csv":
        msg = f'--format "{form}": expected csv.'
        raise ConfigError(msg)


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


def _show(chosen: Chosen, predictor: Predictor, path: Path, failed: list[dict[str, Any]]) -> None:
    out.print(chosen.said, markup=False)
    for note in predictor.notes:
        out.print(f"note: {note}", markup=False)
    out.print(f"predictions: {path}", markup=False)
    for row in failed[:20]:
        err.print(f"not used: {row['error']}", markup=False)
    if failed:
        err.print(f"{len(failed)} images could not be used; each is a row with its error.", markup=False)
