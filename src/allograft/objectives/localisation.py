"""Localisation: the loss of a segmentation, and a pull of each structure's centroid to where it should be.

Idea      A mask that is nearly right may still lie a vertebra too high. The centroid of the predicted
          probabilities is differentiable, so its distance to the true one can be part of the loss: what
          localisation is judged by feeds back into training.
Paper     Spinal vertebrae segmentation and localization by transfer learning. 2019; it
          lets the localisation error of centroids guide further fine-tuning.
Formula   L = L_task + weight * mean over cases i and classes c of mean_axes huber_delta(m_ic - t_ic),
          m_ic = sum_x p_ic(x) x / sum_x p_ic(x), t_ic the mean of x over the elements of class c;
          x in mm where the data say their spacing, else in elements
Streams   train: images and masks.
Defaults  weight = 0.05 (ours).  delta = 5 mm (ours).  label_smoothing = 0 (ours).  class_weights = none (ours).
          segmentation = none, that is SegmentationLoss() with its own defaults (ours).
Differs   1. The paper's own use of the error is not known to us in detail; as a loss, and as the study's
          primary_metric "localisation_error" for choosing weights, it is our reading.
          2. One centroid for each class; structures of one class share theirs. Give vertebrae classes of
          their own. Of a patch, the part of a structure that lies in it counts, on both sides.
          3. Classes that a case does not hold, and the background, are left out: there is no centroid.
Checked   tests/reference/test_localisation_loss.py: centroid of a cuboid is its centre and huber is SciPy's; class
          order does not matter, spacing does; the gradient moves probability towards the true place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec, TaskLoss
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network, Output
from allograft.objectives.labelled import labelled
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss

__all__ = ["Localisation", "centroid_loss", "soft_centroids"]


class Localisation(Method):
    """Minimise the loss of a segmentation and the distance of soft centroids to the true ones.

    Args:
        weight: of the distance, >= 0.
        delta: distances beyond this (mm) count linearly, > 0.
        label_smoothing: as in the objective "supervised".
        class_weights: as in the objective "supervised"; they do not weigh centroids.
        segmentation: settings of the loss of a segmentation; None takes the usual ones.
    """

    name: ClassVar[str] = "localisation"
    paper: ClassVar[Reference] = Reference(
        title="Spinal vertebrae segmentation and localization by transfer learning",
        year=2019,
    )

    weight: float = Field(default=0.05, ge=0)
    delta: float = Field(default=5.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the one stream of labelled cases."""
        return {"train": StreamSpec("train")}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task is no segmentation, or the settings do not fit it.
        """
        plain = task_loss(
            task,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            segmentation=self.segmentation or SegmentationLoss(),
        )
        return _Localisation(self, task, plain)


class _Localisation(Criterion):
    """The task's loss and the centroids' distance on the stream "train"."""

    def __init__(self, spec: Localisation, task: Task, plain: TaskLoss) -> None:
        super().__init__()
        self.spec, self.task, self.plain = spec, task, plain

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the sum of both."""
        train = batch["train"]
        out = nets["net"](train.image)
        plain = self.plain(out, train)
        if not self.spec.weight:
            return plain
        far = centroid_loss(out, train, self.task, delta=self.spec.delta)
        return Loss(plain.total + self.spec.weight * far, {**plain.parts, "localisation": far.detach()})


def centroid_loss(out: Output, batch: Batch, task: Task, *, delta: float) -> Tensor:
    """Return the mean Huber distance of soft centroids to the true ones, over the structures that are there; else 0."""
    part = labelled(out, batch, task)
    here = batch.present[task.head]
    dims = part.logits.ndim - 2
    spacing = torch.ones(len(here), dims) if batch.spacing is None else batch.spacing
    probability = part.logits.float().softmax(1)
    if part.target.ndim == part.logits.ndim:
        truth = part.target.to(probability)
    else:
        known = (part.target >= 0)[:, None]
        truth = torch.nn.functional.one_hot(part.target.clamp(min=0).long(), probability.shape[1])
        truth = truth.movedim(-1, 1).to(probability) * known
        probability = probability * known
    there = truth[:, 1:].flatten(2).sum(2) > 0  # (N, L - 1)
    gap = soft_centroids(probability[:, 1:]) - soft_centroids(truth[:, 1:])
    gap = gap * spacing.to(gap)[here][:, None]
    each = torch.nn.functional.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=delta).mean(2)
    count = there.sum()
    return (each * there).sum() / torch.where(count > 0, count, torch.ones_like(count))


def soft_centroids(mass: Tensor) -> Tensor:
    """Return (N, L, dims) centroids in elements from the first one's centre, of masses (N, L, *S) >= 0; 0 for none."""
    total = mass.flatten(2).sum(2).clamp(min=torch.finfo(mass.dtype).tiny)
    found = []
    for axis, length in enumerate(mass.shape[2:]):
        others = tuple(2 + k for k in range(mass.ndim - 2) if k != axis)
        along = mass.sum(others)
        found.append((along * torch.arange(length, device=mass.device, dtype=mass.dtype)).sum(2) / total)
    return torch.stack(found, dim=2)
