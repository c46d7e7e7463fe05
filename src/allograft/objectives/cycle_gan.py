"""CycleGAN: source images are translated into target images without pairs, and the task is learnt from these.

Idea      A generator makes target images of source images so that a discriminator cannot tell them from real ones; a
          second one leads back, and there and back must give the image one began with, so that anatomy stays.
Paper     Zhu, Park, Isola, Efros. Unpaired image-to-image translation using cycle-consistent adversarial networks.
          ICCV 2017.  arXiv:1703.10593
Formula   G: source to target, F: target to source, means over elements;
          generators: (D_t(G(s)) - 1)^2 + (D_s(F(t)) - 1)^2 + cycle (|F(G(s)) - s| + |G(F(t)) - t|)
          + identity (|G(t) - t| + |F(s) - s|);
          discriminators: 1/2 [(D_t(t) - 1)^2 + D_t(G(s))^2 + (D_s(s) - 1)^2 + D_s(F(t))^2], made images out of a pool;
          net: L_task(f; s, y) for the share `plain` of the steps, then L_task(f; G(s), y)
Streams   source: images and targets.   target: images only; targets are never read. As many of each as a
          supervised step has.
Defaults  cycle = 10 (paper).  identity = 5 (paper).  blocks = 9 (paper).  pool = 50 (paper).  lr = 2e-4, Adam's with
          beta 0.5, constant for half of the steps, then linearly to 0 (paper).  width = 64 (paper).
          critic_width = 64 (paper).  depth = 3, patches of 70 (paper).  residual = true (ours).  plain = 0.3 (ours).
          label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours).
Differs   1. The task is learnt in the same run, not on a finished translation: its network sees what the generator
          makes at that step. Validation on source images, which are not translated, favours early weights: choose them
          without (select_by: entropy or importance), or by the last step (budget.evals: 1).
          2. The generator says what the image is changed by and begins as the identity; `residual: false` makes the
          image itself, as in the paper. Its output is linear, since images here are not in [-1, 1].
          3. Discriminators see what the generators make after their step; the batch is the budget's, not 1.
          4. Windows of a segmentation are translated each by itself. The pool lies in the run's checkpoint.
Checked   tests/reference/test_cycle_gan.py: every loss typed out; cycle and identity cost nothing for identity
          generators; who moves when; the adversarial gradient is there; trained, made images near the target's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.nets.generator import ResNetGenerator
from allograft.nets.network import Network
from allograft.nets.patch_gan import PatchGAN
from allograft.objectives.image_pool import ImagePool
from allograft.objectives.translation import Translation, TranslationCriterion, told_apart

__all__ = ["CycleGAN"]


class CycleGAN(Translation, Method):
    """Translate source images into target images, and train on what comes out. Any task.

    Args:
        cycle: weight of coming back to the image, >= 0.
        identity: weight of leaving images of the domain that one leads to as they are, >= 0.
        blocks: residual blocks of a generator.
        residual: whether a generator says what the image is changed by.
        pool: made images that are kept for each discriminator, 0 for none.
    """

    name: ClassVar[str] = "cycle_gan"
    paper: ClassVar[Reference] = Reference(
        title="Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        authors=("Zhu", "Park", "Isola", "Efros"),
        year=2017,
        venue="ICCV",
        arxiv="1703.10593",
    )

    cycle: float = Field(default=10.0, ge=0)
    identity: float = Field(default=5.0, ge=0)
    blocks: int = Field(default=9, ge=1)
    residual: bool = True
    pool: int = Field(default=50, ge=0)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns generators, discriminators and pools.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        shape = nets["net"].shape
        dims, channels = shape.dims, shape.in_channels
        make = partial(ResNetGenerator, width=self.width, blocks=self.blocks, residual=self.residual)
        generators = {name: make(dims, channels) for name in ("to_target", "to_source")}
        judge = partial(PatchGAN, width=self.critic_width, depth=self.depth)
        critics = {name: judge(dims, channels) for name in ("target", "source")}
        return _CycleGAN(self, task, nn.ModuleDict(generators), nn.ModuleDict(critics))


class _CycleGAN(TranslationCriterion):
    """Two generators, two discriminators, a pool for each."""

    def __init__(self, spec: CycleGAN, task: Task, generators: nn.ModuleDict, critics: nn.ModuleDict) -> None:
        super().__init__(spec, task, generators, critics)
        self.spec = spec
        self.pools = nn.ModuleDict({name: ImagePool(spec.pool) for name in critics})

    def translated(self, source: Tensor) -> Tensor:
        """Return target images made of source images."""
        found: Tensor = self.generators["to_target"](source)
        return found

    def generate(self, source: Tensor, target: Tensor) -> Loss:
        """Return adversarial, cycle and identity terms of both directions."""
        there, back = self.generators["to_target"], self.generators["to_source"]
        as_target, as_source = there(source), back(target)
        deceived = _to(self.discriminators["target"](as_target), 1) + _to(self.discriminators["source"](as_source), 1)
        cycle = F.l1_loss(back(as_target), source) + F.l1_loss(there(as_source), target)
        total, parts = deceived + self.spec.cycle * cycle, {"adversarial": deceived, "cycle": cycle}
        if self.spec.identity:
            kept = F.l1_loss(there(target), target) + F.l1_loss(back(source), source)
            total, parts = total + self.spec.identity * kept, {**parts, "identity": kept}
        return Loss(total, {name: part.detach() for name, part in parts.items()})

    def discriminate(self, source: Tensor, target: Tensor) -> Loss:
        """Return the least-squares losses of both discriminators, on made images out of the pools."""
        with torch.no_grad():
            made = {"target": self.translated(source), "source": self.generators["to_source"](target)}
        reals = {"target": target, "source": source}
        on_real = [self.discriminators[name](reals[name]) for name in reals]
        on_made = [self.discriminators[name](self.pools[name](made[name])) for name in reals]
        total = 0.5 * sum((_to(x, 1) for x in on_real), start=torch.zeros((), device=source.device))
        total = total + 0.5 * sum((_to(x, 0) for x in on_made), start=torch.zeros((), device=source.device))
        return Loss(total, {"accuracy": told_apart(on_real, on_made, 0.5)})


def _to(judgement: Tensor, wanted: float) -> Tensor:
    return (judgement - wanted).square().mean()
