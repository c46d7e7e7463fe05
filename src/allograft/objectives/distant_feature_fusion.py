"""Distant feature fusion: what images of another field share with the target's, learnt by rebuilding both.

Idea      Few labelled target images teach little about images. An encoder that must rebuild distant images (other
          organs, everyday photographs) and target images alike, with features that follow one law, has learnt from
          all of them; the target's labels then need to teach less.
Paper     Niu, Liu, Liu, Wang, Song. Distant domain transfer learning for medical imaging. 2020.  arXiv:2012.06346
Formula   L = reconstruction R + a(t) alignment MMD^2 + a(t) labels L_task(f; target),  a(t) = exp(-5 (1 - t / ramp)^2);
          R the mean over all images, distant and target, of (d(f(x)) - x)^2, d a decoder of the deepest level alone;
          MMD^2 between pooled features of distant and target images, by the kernels of "dan"
Streams   train: target images and targets.   each role of `on`: images only; no label of theirs is ever read.
Defaults  on = unlabelled (ours); name auxiliary data sets of the study, those distant images.  reconstruction = 1
          (ours). alignment = 0.1 (ours).  labels = 1 (ours).  ramp = 1 (ours).  width = 64 (ours), the reduced U-Net's
          widest. joint_norm = false (ours).  batch = 0 (ours), half of the budget's batch.  distant_batch = 0 (ours),
          the other half, shared out over `on`.  label_smoothing = 0 (ours).  class_weights = none (ours).
          segmentation = none (ours): SegmentationLoss().
Differs   1. Only the paper's abstract is known to us; losses, weights and ramp are ours.
          2. The encoder is the recipe's: net: {encoder: genesis, until: stage2, width: 0.25} has three levels of 16,
          32 and 64 channels, with decoder: unet the reduced U-Net. Its lung masks are a study of their own, not a
          stage.
          3. Segmentation too: the mask's decoder is the network's, that of the images another one.
Checked   tests/reference/test_distant_feature_fusion.py: the sum of its terms, each typed out; without alignment and
          labels an autoencoder whose head stands still, with labels only supervised training bit for bit; no distant
          label is read; trained, image error and MMD fall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.mmd import multi_kernel_mmd
from allograft.functional.ramps import sigmoid_ramp
from allograft.nets.decoders.reconstruction import Reconstruction
from allograft.nets.network import Network, Output
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss
from allograft.objectives.two_streams import Images, passes

__all__ = ["DistantFeatureFusion"]


class DistantFeatureFusion(Method):
    """Rebuild distant and target images, align their features, and learn the target's labels.

    Every kind of task, in 2-D and 3-D.

    Args:
        on: roles of distant images: auxiliary data sets of the study, or "unlabelled"; at least one.
        reconstruction: weight of the images' mean squared error, >= 0.
        alignment: largest weight of the MMD, >= 0.
        labels: largest weight of the task's loss, >= 0.
        ramp: share of the training over which both rise, in [0, 1]; 0 for none.
        width: of the widest step of the decoder of images, >= 1.
        joint_norm: pass all images in one batch (of one size), sharing normalisation statistics; otherwise the
            target's first, then each role's.
        batch: target cases in a step, 0 for half of the budget's batch.
        distant_batch: cases of each role, 0 for its share of the other half.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the loss of a segmentation; None takes the usual ones.
    """

    name: ClassVar[str] = "distant_feature_fusion"
    paper: ClassVar[Reference] = Reference(
        title="Distant Domain Transfer Learning for Medical Imaging",
        authors=("Niu", "Liu", "Liu", "Wang", "Song"),
        year=2020,
        arxiv="2012.06346",
    )

    on: tuple[str, ...] = Field(default=("unlabelled",), min_length=1)
    reconstruction: float = Field(default=1.0, ge=0)
    alignment: float = Field(default=0.1, ge=0)
    labels: float = Field(default=1.0, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    width: int = Field(default=64, ge=1)
    joint_norm: bool = False
    batch: int = Field(default=0, ge=0)
    distant_batch: int = Field(default=0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    @model_validator(mode="after")
    def _useful(self) -> Self:
        if not self.reconstruction and not self.alignment and not self.labels:
            msg = "reconstruction, alignment and labels are all 0: nothing would be learnt"
            raise ValueError(msg)
        if len({"train", *self.on}) != 1 + len(self.on):
            msg = f'on: name different roles, none of them "train", got {list(self.on)}'
            raise ValueError(msg)
        return self

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the labelled target cases and the distant images."""
        distant = StreamSpec(batch=self.distant_batch, share=0.5 / len(self.on), labelled=False, pixels=True)
        own = StreamSpec("train", batch=self.batch, share=0.5, pixels=True)
        return {"train": own, **{role: distant._replace(role=role) for role in self.on}}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the decoder of images.

        Raises:
            ConfigError: the encoder has no level to rebuild from, the network looks at instances, or the settings do
                not fit the task.
        """
        if nets["net"].bag is not None:
            msg = "distant_feature_fusion rebuilds whole images, this network cuts them into instances. Leave bag out."
            raise ConfigError(msg)
        return _DistantFeatureFusion(self, task, nets["net"])


class _DistantFeatureFusion(Criterion):
    """Three terms; one of weight 0 is not computed."""

    def __init__(self, spec: DistantFeatureFusion, task: Task, net: Network) -> None:
        super().__init__()
        self.spec = spec
        self.plain = task_loss(
            task,
            label_smoothing=spec.label_smoothing,
            class_weights=spec.class_weights,
            segmentation=spec.segmentation,
        )
        self.rebuild = Reconstruction(net.shape, most=spec.width)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the weighted sum."""
        spec, net, train = self.spec, nets["net"], batch["train"]
        ramp = sigmoid_ramp(at.fraction / spec.ramp) if spec.ramp else 1.0
        images = [train.image, *(batch[role].image for role in spec.on)]
        outs = passes(net, images if spec.reconstruction or spec.alignment else images[:1], joint=spec.joint_norm)
        terms = {}
        if spec.labels:
            terms["task"] = (ramp * spec.labels, self.plain(outs[0], train).total)
        if spec.reconstruction:
            terms["reconstruction"] = (spec.reconstruction, self._error(outs, images))
        if spec.alignment:
            distant = torch.cat([out.pooled for out in outs[1:]])
            terms["mmd"] = (ramp * spec.alignment, multi_kernel_mmd(distant, outs[0].pooled))
        total = torch.stack([weight * value for weight, value in terms.values()]).sum()
        return Loss(total, {name: value.detach() for name, (_, value) in terms.items()})

    def _error(self, outs: Sequence[Output], images: Sequence[Images]) -> Tensor:
        """Return the mean squared error over all images; sets of another image size count by their cases."""
        found, cases = [], []
        for out, image in zip(outs, images, strict=True):
            assert isinstance(image, Tensor), "the streams ask for images"
            found.append((self.rebuild(out.levels, image) - image).square().mean())
            cases.append(len(image))
        return torch.stack([n * value for n, value in zip(cases, found, strict=True)]).sum() / sum(cases)
