"""DataSpec: a data set as a study file names it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from allograft.catalog import DATASETS
from allograft.core.channel_names import canonical_channels
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
from allograft.study.shift import Shift

__all__ = ["DataSpec", "TaskSpec", "fingerprint", "known_dataset", "known_preprocess", "open_cohort", "under_names"]


_ANY = frozenset({"data", "dataset", "images", "labels", "train", "manifest", "cases", "table", "set"})
"""Names of files and folders that say nothing about which data they hold."""


class TaskSpec(LabelSpec):
    """What is to be predicted; what is left out is read from the labels."""


class AlsoSpec(Config):
    """A further label of the same cases.

    Args:
        label: column of the class or value; several are yes/no labels.
        mask: column of the mask's path.
        task: kind, classes and positive class.
    """

    label: str | tuple[str, ...] | None = None
    mask: str | None = None
    task: TaskSpec = TaskSpec()

    @model_validator(mode="after")
    def _one_column(self) -> Self:
        if (self.label is None) == (self.mask is None):
            msg = "a further label is either a label column or a mask column"
            raise ValueError(msg)
        return self


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
        channels: what the channels of an image mean, in order ("t1", "flair", "ct", "red"); weights whose card
            names its channels are adapted by these names. Layouts that name them need none; red, green and blue
            of colour pictures are known.
        preprocess: of these images, None takes the study's.
        shift: of cases with a domain, whose labels are used and which domains are predicted (domain adaptation).
        score_by: of a classification, what is scored: each "case", or each "group" by the mean of its cases'
            probabilities (the frames of a video; name its column as group). Training sees single cases.
        regions: of a segmentation, what is scored in place of single classes (see `Task`).
        also: by name, further labels of the same table that a network may learn beside the task (objective
            multi_task): {lesion: {mask: mask_column}}; an empty cell is unlabelled. They are never scored.
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
    channels: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    shift: Shift | None = None
    score_by: Literal["case", "group"] = "case"
    regions: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    also: Mapping[str, AlsoSpec] = Field(default_factory=dict)
    task: TaskSpec = TaskSpec()

    @model_validator(mode="after")
    def _channels_differ(self) -> Self:
        words = canonical_channels(self.channels)
        twice = next((name for name, word in zip(self.channels, words, strict=True) if words.count(word) > 1), None)
        if twice is not None or not all(words):
            msg = f'data set "{self.name}": channels {list(self.channels)} need names that differ in meaning'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _also_named(self) -> Self:
        for name in self.also:
            if not name.isidentifier() or name in {"label", "denoise"}:
                msg = f'data set "{self.name}": also, "{name}": a further head needs a plain name, not label or denoise'
                raise ValueError(msg)
        if self.also and self.dataset is not None:
            msg = f'data set "{self.name}": also names columns of your own table, but dataset is a known one'
            raise ValueError(msg)
        return self

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


def known_preprocess(data: str, base: Path) -> Preprocess | None:
    """Return what a known data set recommends, None where `data` is a path or names none."""
    return DATASETS[data].preprocess if data in DATASETS and not (base / data).exists() else None


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
        return _as_said(cohort, spec)
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
    for name, more in spec.also.items():
        own = columns | more.model_dump(include={"label", "mask"})
        manifest = ManifestSpec(**more.task.model_dump(), **own)
        found = open_data(base / spec.path, manifest=manifest, folder=None, check_files=check_files)
        cohort = _joined(cohort, found.under_head(name), spec)
    return _as_said(cohort, spec)


def _joined(cohort: Cohort, more: Cohort, spec: DataSpec) -> Cohort:
    """Return the cohort with the targets of the same cases under a further head."""
    if cohort.ids != more.ids or more.task.head == cohort.task.head:
        msg = (
            f'datasets, "{spec.name}", also "{more.task.head}": further labels are columns of one table, under a name '
            f'of their own (the task itself is "{cohort.task.head}").'
        )
        raise ConfigError(msg)
    cases = (replace(a, targets={**a.targets, **b.targets}) for a, b in zip(cohort, more, strict=True))
    return replace(cohort, cases=tuple(cases), also=(*cohort.also, more.task))


def _as_said(cohort: Cohort, spec: DataSpec) -> Cohort:
    """Let the cohort be what the study says of it."""
    named = replace(cohort, channels=spec.channels) if spec.channels else cohort
    return _with_scoring(spec.shift.of(named) if spec.shift else named, spec)


def under_names(cohorts: Mapping[str, Cohort], helpers: Collection[str]) -> dict[str, Cohort]:
    """Name cohorts as the study does; the head of one that helps bears its name: several heads fit on one network."""
    for name in helpers:
        if cohorts[name].also:
            msg = f'auxiliary, "{name}": also is for studied data. List each label as a data set of its own.'
            raise ConfigError(msg)
    found = {name: replace(cohort, name=name, seen_as=_aliases(cohort, name)) for name, cohort in cohorts.items()}
    return {name: cohort.under_head(name) if name in helpers else cohort for name, cohort in found.items()}


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


def _aliases(cohort: Cohort, name: str) -> tuple[str, ...]:
    """Return other names of a data set: its own, which the study replaces, is one; words for any data are none."""
    said = (*cohort.seen_as, cohort.name)
    return tuple(dict.fromkeys(each for each in said if each != name and each.casefold() not in _ANY))


def fingerprint(cohort: Cohort, store_key: str) -> str:
    """Return a text that changes with any case, label, group, split, or pixel of the cohort."""
    rows = [[c.id, c.group, c.split, c.domain, sorted((h, str(t)) for h, t in c.targets.items())] for c in cohort]
    named = [list(cohort.channels)] if cohort.channels else []
    further = [[task.model_dump(mode="json") for task in cohort.also]] if cohort.also else []
    return canonical_json([cohort.task.model_dump(mode="json"), store_key, rows, *named, *further])
