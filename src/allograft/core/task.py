"""Task: what is to be predicted, free of torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from allograft.core.config import Config

__all__ = ["DEFAULT_METRIC", "Kind", "Task"]

Kind = Literal["binary", "multiclass", "multilabel", "segmentation", "regression"]

DEFAULT_METRIC: dict[str, str] = {
    "binary": "auroc",
    "multiclass": "balanced_accuracy",
    "multilabel": "auroc",
    "segmentation": "dice",
    "regression": "mae",
}


class Task(Config):
    """What is to be predicted.

    Args:
        kind: binary (one logit), multiclass (one of L), multilabel (L independent yes/no),
            segmentation (a class per pixel, the first class is background) or regression.
        classes: class names in the order of the outputs; for binary (negative, positive).
        head: name of the head, of the target in a case and of the tensors in a batch.
        metric: primary metric; empty means the usual one for the kind.
    """

    kind: Kind
    classes: tuple[str, ...]
    head: str = "label"
    metric: str = ""

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

    @property
    def outputs(self) -> int:
        """Number of logits: 1 for binary, one per class otherwise."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def primary_metric(self) -> str:
        """The metric that decides, by name."""
        return self.metric or DEFAULT_METRIC[self.kind]
