"""Segmentation loss: overlaps with the truth and cross-entropies of a class per pixel or voxel.

L = Σ_k a_k · term_k over the terms with a weight a_k above 0:

    dice              1 - Σ_c u_c D_c, D_c the soft Dice of class c
    tversky           1 - Σ_c u_c T_c, T_c the Tversky index of class c
    generalised_dice  1 - the generalised Dice of all classes, weighed by w_c / volume_c^2
    cross_entropy     Σ_x w(y_x) v_x l(x) / Σ_x w(y_x) v_x, l the cross-entropy of an element
    focal             the same with the focal loss of an element

with w class weights, u the same divided by their sum over what an overlap counts, and v case or element
weights. With `regions` the overlaps are of the task's regions (whole tumour ⊇ core ⊇ enhancing), whose
probability is the sum of their classes'; the cross-entropies stay with the classes.

The recipe of methods 2.3 (Wacker et al.) is `SegmentationLoss(cross_entropy=0, batch=True,
include_background=True, smooth=1e-15)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from allograft.contracts import Loss, TaskLoss
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Output
from allograft.objectives.labelled import labelled
from allograft.objectives.segmentation_terms import Overlaps, element_terms, overlap_terms
from allograft.objectives.segmentation_truth import region_table, truth_of

__all__ = ["SegmentationLoss"]

OVERLAPS = ("dice", "tversky", "generalised_dice")
ELEMENTS = ("cross_entropy", "focal")
USES = {"tversky_alpha": "tversky", "tversky_beta": "tversky", "focal_gamma": "focal", "squared": "dice"}


class SegmentationLoss(Config):
    """Settings of the plain loss of a segmentation; defaults are ours unless a paper is named.

    Args:
        dice: weight of the Dice term, >= 0.
        cross_entropy: weight of the cross-entropy, >= 0.
        focal: weight of the focal loss, >= 0.
        tversky: weight of the Tversky term, >= 0.
        generalised_dice: weight of the generalised Dice term, >= 0. Where a patch has none of its classes
            it says nothing: give it a cross-entropy beside it.
        focal_gamma: how fast what is right stops to count, >= 0 (Lin et al. 2017: 2).
        tversky_alpha: cost of a false alarm, >= 0 (Salehi et al. 2017: 0.3).
        tversky_beta: cost of a miss, >= 0 (Salehi et al. 2017: 0.7).
        regions: overlaps of the task's regions in place of its classes; a region's class weight is the
            mean of its classes'.
        batch: overlaps over all cases of a batch at once: steadier where a class is absent from most
            patches; false gives every case the same say.
        squared: p^2 and t^2 in Dice's denominator.
        smooth: added above and below in every overlap, > 0.
        include_background: whether overlaps count class 0 too.
    """

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    focal: float = Field(default=0.0, ge=0)
    tversky: float = Field(default=0.0, ge=0)
    generalised_dice: float = Field(default=0.0, ge=0)
    focal_gamma: float = Field(default=2.0, ge=0)
    tversky_alpha: float = Field(default=0.3, ge=0)
    tversky_beta: float = Field(default=0.7, ge=0)
    regions: bool = False
    batch: bool = True
    squared: bool = False
    smooth: float = Field(default=1e-5, gt=0)
    include_background: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not any(getattr(self, name) for name in OVERLAPS + ELEMENTS):
            msg = f"{', '.join(OVERLAPS + ELEMENTS)} are all 0: nothing would be learnt"
            raise ValueError(msg)
        for name, term in USES.items():
            if getattr(self, name) != type(self).model_fields[name].default and not getattr(self, term):
                msg = f"{name} belongs to {term}, which has weight 0: leave it out, or give {term} a weight"
                raise ValueError(msg)
        if self.regions and (self.include_background or not any(getattr(self, name) for name in OVERLAPS)):
            why = "leave the background out" if self.include_background else "act on overlaps, which all have weight 0"
            msg = f"regions {why}: remove one of the two"
            raise ValueError(msg)
        return self

    def build(self, task: Task, *, label_smoothing: float = 0.0, class_weights: tuple[float, ...] = ()) -> TaskLoss:
        """Return the loss of a segmentation task.

        Targets are (B, *S) classes, where an element below 0 is absent and reaches no loss, or soft
        (B, L, *S). `Batch.weight` is (B,) or (B, *S). A batch without a labelled case gives 0, with a
        gradient of 0.

        Args:
            task: a segmentation.
            label_smoothing: of the cross-entropy, in [0, 1).
            class_weights: one per class, > 0; empty for 1.

        Raises:
            ConfigError: the task is none, has no regions, or label smoothing has nothing to act on.
        """
        self._check(task, label_smoothing)
        weights = torch.tensor(class_weights or (1.0,) * len(task.classes))
        table = region_table(task) if self.regions else None
        how = Overlaps(
            terms=tuple(name for name in OVERLAPS if getattr(self, name)),
            **self.model_dump(include={"tversky_alpha", "tversky_beta", "batch", "squared", "smooth"}),
            first=0 if self.include_background or self.regions else 1,
        )
        elements = tuple(name for name in ELEMENTS if getattr(self, name))

        def loss(out: Output, batch: Batch) -> Loss:
            part = labelled(out, batch, task)
            truth = truth_of(part)
            logits = part.logits if part.logits.dtype == torch.float64 else part.logits.float()
            logs = logits.log_softmax(dim=1)
            here = None if table is None else table.to(logs)
            parts = overlap_terms(logs, truth, weights.to(logs), here, how)
            parts |= element_terms(elements, logs, truth, weights.to(logs), (label_smoothing, self.focal_gamma))
            return self._sum(parts)

        return loss

    def _check(self, task: Task, label_smoothing: float) -> None:
        if task.kind != "segmentation":
            msg = f'task "{task.head}" is {task.kind}; a segmentation loss needs a segmentation task.'
            raise ConfigError(msg)
        if self.regions and not task.regions:
            msg = f'task "{task.head}" names no regions. Name them (datasets, regions), or set regions to false.'
            raise ConfigError(msg)
        if label_smoothing and not self.cross_entropy:
            msg = "label_smoothing acts on the cross-entropy, which has weight 0. Leave one of the two out."
            raise ConfigError(msg)

    def _sum(self, parts: Mapping[str, Tensor]) -> Loss:
        total = torch.stack([getattr(self, name) * part for name, part in parts.items()]).sum()
        return Loss(total, {name: part.detach() for name, part in {"task": total, **parts}.items()})
