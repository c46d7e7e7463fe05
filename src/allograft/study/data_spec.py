"""DataSpec: a data set as a study file names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from allograft.catalog import DATASETS
from allograft.core.config import Config, canonical_json, config_error
from allograft.core.errors import ConfigError, did_you_mean
from allograft.core.task import Task
from allograft.data.class_folder import FolderSpec
from allograft.data.cohort import Cohort
from allograft.data.labels import LabelSpec
from allograft.data.manifest import ManifestSpec
from allograft.data.preprocess import Preprocess
from allograft.data.sniff import open_data
from allograft.datasets.dataset import Dataset, with_settings

__all__ = ["DataSpec", "TaskSpec", "fingerprint", "known_dataset", "open_cohort"]


class TaskSpec(LabelSpec):
    """What is to be predicted; what is left out is read from the labels."""


class DataSpec(Config):
    """One data set.

    Args:
        name: name in tables and reports.
        dataset: name of a data set that allograft knows (allograft datasets list).
        settings: of that data set, where it has some ({templates: [mni152]}).
        path: a CSV or TSV table, a folder of classes, or a MedMNIST .npz file.
        image: column of the image's path; several are channels of one image.
        label: column of the class; several are yes/no labels.
        mask: column of the mask's path, for segmentation.
        group: column of the patient.
        domain: column of the site or scanner.
        split: column that fixes train, val or test.
        id: column of the case's name.
        root: folder that relative paths start from.
        group_pattern: for folders of classes, a regular expression whose first group is the patient.
        unit: what a group is.
        preprocess: of these images, None takes the study's.
        score_by: of a classification, what is scored: each "case", or each "group" by the mean of its cases'
            probabilities (the frames of a video; name its column as group). Training sees single cases.
        regions: of a segmentation, what is scored in place of single classes (see `Task`).
        task: kind, classes and positive class.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    dataset: str | None = None
    settings: Mapping[str, Any] = {}
    path: str | None = None
    image: str | tuple[str, ...] | None = None
    label: str | tuple[str, ...] | None = None
    mask: str | None = None
    group: str | None = None
    domain: str | None = None
    split: str | None = None
    id: str | None = None
    root: str = "."
    group_pattern: str | None = None
    unit: str = "patient"
    preprocess: Preprocess | None = None
    score_by: Literal["case", "group"] = "case"
    regions: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    task: TaskSpec = TaskSpec()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.dataset is None) == (self.path is None):
            msg = f'data set "{self.name}": give either dataset (a known one) or path (your own), not both or none'
            raise ValueError(msg)
        columns = [
            n for n in ("image", "label", "mask", "group", "domain", "split", "id") if getattr(self, n) is not None
        ]
        if self.dataset is not None and columns:
            msg = f'data set "{self.name}": {columns[0]} names a column of your own table, but dataset is a known one'
            raise ValueError(msg)
        if self.settings and self.dataset is None:
            msg = f'data set "{self.name}": settings belong to a known data set; your own has none'
            raise ValueError(msg)
        return self


def known_dataset(spec: DataSpec) -> Dataset:
    """Return the data set that a spec names, with its settings; fetches nothing.

    Raises:
        ConfigError: there is no such data set, or a setting is unknown or wrong.
    """
    if spec.dataset not in DATASETS:
        msg = f'datasets, "{spec.name}": no data set "{spec.dataset}". {did_you_mean(spec.dataset or "", DATASETS)}'
        raise ConfigError(msg)
    return with_settings(DATASETS[spec.dataset], spec.settings, where=f'datasets, "{spec.name}", settings')


def open_cohort(
    spec: DataSpec, *, base: Path, check_files: bool = True, progress: Callable[[int, int], None] | None = None
) -> Cohort:
    """Open the data set; relative paths start from `base`, the study file's folder.

    Raises:
        ConfigError: the known data set does not exist, or settings do not fit the data.
        DataError: files are missing or wrong, by name.
    """
    if spec.dataset is not None:
        dataset = known_dataset(spec)
        cohort = dataset.prepare(None if progress is None else lambda done, total, _: progress(done, total))
        dataset.validate(cohort)
        return _with_scoring(cohort, spec)
    assert spec.path is not None
    labels = spec.task.model_dump()
    columns = spec.model_dump(
        include={"image", "label", "mask", "group", "domain", "split", "id", "root", "unit", "name"}
    )
    cohort = open_data(
        base / spec.path,
        manifest=ManifestSpec(**labels, **columns),
        folder=FolderSpec(**labels, group_pattern=spec.group_pattern, unit=spec.unit, name=spec.name),
        check_files=check_files,
    )
    return _with_scoring(cohort, spec)


def _with_scoring(cohort: Cohort, spec: DataSpec) -> Cohort:
    """Let the task score the regions, or the groups, that the study names."""
    if not spec.regions and spec.score_by == "case":
        return cohort
    named = {"regions": spec.regions or cohort.task.regions, "score_by": spec.score_by}
    try:
        task = Task.model_validate({**cohort.task.model_dump(), **named})
    except ValidationError as error:
        raise config_error(error, where=f'datasets, "{spec.name}"', model=Task) from error
    return replace(cohort, task=task)


def fingerprint(cohort: Cohort, store_key: str) -> str:
    """Return a text that changes with any case, label, group, split, or pixel of the cohort."""
    rows = [[c.id, c.group, c.split, c.domain, sorted((h, str(t)) for h, t in c.targets.items())] for c in cohort]
    return canonical_json([cohort.task.model_dump(mode="json"), store_key, rows])
