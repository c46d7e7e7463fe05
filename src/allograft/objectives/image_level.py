"""Image level: what objectives share that change source images towards the target and learn from these.

They read "source", labelled cases that have as many images in a step as a supervised one, and "target", images without
targets, as many. Networks see what was made of the source images, with the source's labels; predictions are made from
target images as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Progress, StreamSpec, TaskLoss
from allograft.core.config import Config
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss

__all__ = ["ImageLevel", "ImageLevelCriterion", "images", "partners"]


class ImageLevel(Config):
    """Settings of an objective that changes source images.

    Args:
        label_smoothing: as in the objective "supervised".
        class_weights: as in the objective "supervised".
        segmentation: settings of the loss of a segmentation; None takes the usual ones.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled source cases and target images, whose targets nobody reads."""
        target = StreamSpec("target", labelled=False, pixels=True)
        return {"source": StreamSpec("train", pixels=True), "target": target}

    def task_loss(self, task: Task) -> TaskLoss:
        """Return the task's loss.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        return task_loss(
            task,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            segmentation=self.segmentation,
        )


class ImageLevelCriterion(Criterion):
    """The task's loss on "source" after its images were changed."""

    def __init__(self, spec: ImageLevel, task: Task) -> None:
        super().__init__()
        self.task, self.loss = task, spec.task_loss(task)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the task's loss on changed images; the part "change" is the mean absolute difference made."""
        source = batch["source"]
        with torch.no_grad():
            made = self.changed(images(source), images(batch["target"]), at)
            change = (made - images(source)).abs().mean()
        found = self.loss(nets["net"](made), replace(source, image=made))
        return Loss(found.total, {**found.parts, "change": change})

    def changed(self, source: Tensor, target: Tensor, at: Progress) -> Tensor:
        """Return (B, C, *S) for source images (B, C, *S) and target images (T, C, *S); no gradient goes through."""
        raise NotImplementedError


def images(batch: Batch) -> Tensor:
    """Return the images of a batch of a stream that asked for pixels."""
    assert isinstance(batch.image, Tensor), "the stream asks for images"
    return batch.image


def partners(source: Tensor, target: Tensor) -> Tensor:
    """Return a random image of `target` (T, C, *S) for each of `source` (B, ...); the loop seeds the draw."""
    return target[torch.randint(len(target), (len(source),)).to(target.device)]
