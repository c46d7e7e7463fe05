"""Predict all: every input answered and written in the asked formats, with a row for the table; none stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.infer.ensemble import Predictor
from allograft.infer.inputs import Input
from allograft.infer.predict import Predicted, decode, predict_prepared
from allograft.infer.predict_masks import Segmented, segment_inputs
from allograft.infer.write import HIDDEN, prediction_rows
from allograft.infer.write_masks import mask_row, require_series, source_of, write_label_map
from allograft.infer.write_seg import Algorithm
from allograft.infer.write_sr import Finding, write_sr

__all__ = ["Output", "predict_all"]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where predictions go, and in which form.

    Args:
        folder: for everything.
        files: for each input the file name of each format (`output_files`).
        algorithm: who speaks, for DICOM.
        all_frames: whether DICOM segmentations hold frames without a pixel too.
        salt: hides names behind salted hashes; None shows them.
    """

    folder: Path
    files: Sequence[Mapping[str, str]]
    algorithm: Algorithm
    all_frames: bool = False
    salt: str | None = None


def predict_all(
    predictor: Predictor,
    items: Sequence[Input],
    out: Output,
    *,
    on_image: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Predict and write every input.

    Args:
        predictor: one network or several.
        items: the inputs.
        out: where to.
        on_image: called with how many are done.

    Returns:
        A row for each input; `error` says why something is missing, "" where nothing is.
    """
    if predictor.task.kind == "segmentation":
        return _masks(predictor, items, out, on_image)
    found = list(predict_prepared(predictor, decode(items, predictor), on_image=on_image))
    rows = prediction_rows(found, predictor.task, len(predictor), salt=out.salt)
    if any(out.files):
        for row, item, one, files in zip(rows, items, found, out.files, strict=True):
            row["error"] = one.error or _report(one, item, files, predictor.task, out)
            row["written"] = "" if row["error"] else files["dicom-sr"]
    return rows


def _masks(predictor: Predictor, items: Sequence[Input], out: Output, on_image: Callable[[int], None]) -> list[Row]:
    """Segment and write one input after another."""
    placed = any("dicom-seg" in files for files in out.files)
    segmented = segment_inputs(predictor, items, check=require_series if placed else lambda item: None)
    rows = []
    for done, (found, files) in enumerate(zip(segmented, out.files, strict=True), start=1):
        rows.append(_mask(found, files, predictor, out))
        on_image(done)
    return rows


def _mask(found: Segmented, files: Mapping[str, str], predictor: Predictor, out: Output) -> Row:
    written: tuple[str, ...] = ()
    error = found.error
    if not error:
        paths = {name: out.folder / file for name, file in files.items()}
        written, error = write_label_map(
            found, paths, task=predictor.task, algorithm=out.algorithm, all_frames=out.all_frames
        )
    names = [files[name] for name in written]
    return mask_row(
        found, predictor.task, networks=len(predictor), files=names, error=error, dims=predictor.dims, salt=out.salt
    )


def _report(one: Predicted, item: Input, files: Mapping[str, str], task: Task, out: Output) -> str:
    """Write a DICOM report of one input; return what hindered it."""
    try:
        findings = _findings(one, task)
        write_sr(out.folder / files["dicom-sr"], findings, source=source_of(item), algorithm=out.algorithm)
    except DataError as error:
        text = str(error)
        return HIDDEN if out.salt is not None else text if item.name in text else f"{item.name}: {text}"
    return ""


def _findings(one: Predicted, task: Task) -> list[Finding]:
    assert one.probabilities is not None, "only answers are reported"
    p = one.probabilities.tolist()
    best = int(one.probabilities.argmax())
    several = task.kind == "multilabel"
    return [
        Finding(name, value, value > 0.5 if several else number == best)
        for number, (name, value) in enumerate(zip(task.classes, p, strict=True))
    ]
