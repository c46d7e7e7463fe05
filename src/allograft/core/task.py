"""Task: what is to be predicted, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config

__all__ = ["DEFAULT_METRIC", "Kind", "Task"]

Kind = Literal["binary", "multiclass", "multilabel", "segmentation", "regression", "restoration"]

DEFAULT_METRIC: dict[str, str] = {
    "binary": "auroc",
    "multiclass": "balanced_accuracy",
    "multilabel": "auroc",
    "segmentation": "dice",
    "regression": "mae",
    "restoration": "mae",
}


class Task(Config):
    """What is to be predicted.

    Args:
        kind: binary (one logit), multiclass (one of L), multilabel (L independent yes/no),
            segmentation (a class per pixel, the first class is background), regression, or restoration (the
            image itself, every channel of every pixel: a help in training, no data set is studied for it).
        classes: class names in the order of the outputs; for binary (negative, positive).
        head: name of the head, of the target in a case and of the tensors in a batch.
        metric: primary metric; empty means the usual one for the kind.
        score_by: of a classification, what is scored: each "case", or each "group" (a video, a patient) by the mean
            of its cases' probabilities.
        regions: of a segmentation, what is scored in place of single classes: by name, the classes that a
            region joins; regions may overlap ({"WT": ("edema", "core", "enhancing"), "ET": ("enhancing",)}).
    """

    kind: Kind
    classes: tuple[str, ...]
    head: str = "label"
    metric: str = ""
    score_by: Literal["case", "group"] = "case"
    regions: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_fit_kind(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            msg = f"class names must be different, got {list(self.classes)}"
            raise ValueError(msg)
        if self.kind == "binary" and len(self.classes) != 2:
            msg = f"a binary task has 2 classes (negative, positive), got {len(self.classes)}: {list(self.classes)}"
            raise ValueError(msg)
        if self.kind in {"multiclass", "segmentation"} and len(self.classes) < 2:
            msg = f"a {self.kind} task has at least 2 classes, got {len(self.classes)}"
            raise ValueError(msg)
        if not self.classes:
            msg = "a task names at least one class"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _groups_have_a_mean(self) -> Self:
        if self.score_by == "group" and self.kind in {"segmentation", "regression"}:
            msg = f"score_by: group averages probabilities, which a {self.kind} task has none of"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _regions_fit(self) -> Self:
        if self.regions and self.kind != "segmentation":
            msg = f"regions belong to a segmentation, this task is {self.kind}"
            raise ValueError(msg)
        for name, members in self.regions.items():
            wrong = [member for member in members if member not in self.classes[1:]]
            if wrong or not members:
                known = ", ".join(self.classes[1:])
                msg = f'region "{name}" joins classes other than the background ({known}), got {list(members)}'
                raise ValueError(msg)
        return self

    @property
    def scored(self) -> dict[str, tuple[int, ...]]:
        """Label values by class, background left out, or by region where the task names some."""
        single = {name: (name,) for name in self.classes[1:]}
        found = dict(self.regions) or single
        return {name: tuple(self.classes.index(member) for member in members) for name, members in found.items()}

    @property
    def dense(self) -> bool:
        """Whether every element of an image is judged, which needs a decoder."""
        return self.kind in {"segmentation", "restoration"}

    @property
    def outputs(self) -> int:
        """Number of logits: 1 for binary, one per class otherwise; a restoration has the image's channels."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each logit stands for: the positive class of a binary task, every class of others."""
        return self.classes[1:] if self.kind == "binary" else self.classes

    @property
    def primary_metric(self) -> str:
        """The metric that decides, by name."""
        return self.metric or DEFAULT_METRIC[self.kind]
