"""pix2pix: source images are translated into the target's modality, learnt from images of the same patients in both.

Idea      Where patients were seen by both scanners or modalities, in one frame, the generator can be told what to make;
          a discriminator that sees both images of a pair takes care of what the mean distance would blur.
Paper     Isola, Zhu, Zhou, Efros. Image-to-image translation with conditional adversarial networks. CVPR 2017.
          arXiv:1611.07004
Formula   G: source to target, t the partner of s, CE binary cross-entropy on logits, means over elements;
          generator: CE(D(s, G(s)), 1) + l1 |G(s) - t|;   discriminator: 1/2 [CE(D(s, t), 1) + CE(D(s, G(s)), 0)];
          net: L_task(f; s, y) for the share `plain` of the steps, then L_task(f; G(s), y)
Streams   source: images and targets.   target: images only; targets are never read. Each is the partner of the
          source case: of the same group (patient), on the same grid, augmented by the same draws.
Defaults  l1 = 100 (paper).  lr = 2e-4, Adam's with beta 0.5 (paper), constant for half of the steps, then linearly
          to 0 (ours).  width = 64 (paper).  critic_width = 64 (paper).  depth = 3, patches of 70 (paper).
          dropout = 0.5 (paper).  levels = 5 (ours; the paper has 8 for images of 256).  match = none (ours).
          plain = 0.3 (ours).
          label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours).
Differs   1. The task is learnt in the same run, not on a finished translation; validation on source images favours
          early weights: choose them without (select_by: entropy or importance), or by the last step (budget.evals: 1).
          2. Instance norm in place of batch norm with a batch of 1; a linear output, since images are not in [-1, 1].
          3. The generator moves before the discriminator. The discriminator sees images as they are made, no pool.
          4. Windows of a segmentation are translated each by itself.
Checked   tests/reference/test_pix2pix.py: both losses typed out; who moves when; a perfect generator costs no l1;
          trained on pairs, made images come near the partners.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.nets.generator import UNetGenerator
from allograft.nets.network import Network
from allograft.nets.patch_gan import PatchGAN
from allograft.objectives.translation import Translation, TranslationCriterion, told_apart

__all__ = ["Pix2Pix"]


class Pix2Pix(Translation, Method):
    """Translate source images as their partners show it, and train on what comes out. Any task.

    Args:
        l1: weight of the distance between made image and partner, >= 0.
        levels: halvings of the generator, >= 2.
        dropout: of the generator's deepest doublings, in [0, 1): its noise.
        match: attributes in which partners agree besides their group, where a patient has several images (slices).
    """

    name: ClassVar[str] = "pix2pix"
    paper: ClassVar[Reference] = Reference(
        title="Image-to-Image Translation with Conditional Adversarial Networks",
        authors=("Isola", "Zhu", "Zhou", "Efros"),
        year=2017,
        venue="CVPR",
        arxiv="1611.07004",
    )

    l1: float = Field(default=100.0, ge=0)
    levels: int = Field(default=5, ge=2)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    match: tuple[str, ...] = ()

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled source cases, and the image of each case's partner."""
        target = StreamSpec("target", labelled=False, pixels=True, like="source", match=self.match)
        return {"source": StreamSpec("train", pixels=True), "target": target}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns generator and discriminator.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        shape = nets["net"].shape
        dims, channels = shape.dims, shape.in_channels
        generator = UNetGenerator(dims, channels, width=self.width, levels=self.levels, rate=self.dropout)
        critic = PatchGAN(dims, 2 * channels, width=self.critic_width, depth=self.depth)
        return _Pix2Pix(self, task, nn.ModuleDict({"to_target": generator}), nn.ModuleDict({"pair": critic}))


class _Pix2Pix(TranslationCriterion):
    """One generator, and a discriminator of pairs."""

    def __init__(self, spec: Pix2Pix, task: Task, generators: nn.ModuleDict, critics: nn.ModuleDict) -> None:
        super().__init__(spec, task, generators, critics)
        self.weight = spec.l1

    def translated(self, source: Tensor) -> Tensor:
        """Return target images made of source images."""
        found: Tensor = self.generators["to_target"](source)
        return found

    def generate(self, source: Tensor, target: Tensor) -> Loss:
        """Return the adversarial term and the distance to the partners."""
        made = self.translated(source)
        deceived, apart = F.softplus(-self._says(source, made)).mean(), F.l1_loss(made, target)
        return Loss(deceived + self.weight * apart, {"adversarial": deceived.detach(), "l1": apart.detach()})

    def discriminate(self, source: Tensor, target: Tensor) -> Loss:
        """Return the cross-entropies on true and on made pairs."""
        with torch.no_grad():
            made = self.translated(source)
        on_real, on_made = self._says(source, target), self._says(source, made)
        total = 0.5 * (F.softplus(-on_real).mean() + F.softplus(on_made).mean())
        return Loss(total, {"accuracy": told_apart([on_real], [on_made], 0)})

    def _says(self, source: Tensor, image: Tensor) -> Tensor:
        """Return logits of being a true pair, (B, 1, *s)."""
        found: Tensor = self.discriminators["pair"](torch.cat([source, image], 1))
        return found
