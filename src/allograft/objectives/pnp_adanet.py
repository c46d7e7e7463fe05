"""PnP-AdaNet: the early layers learn to turn target images into the features that the later layers know.

Idea      A modality changes what images look like, not what is in them. A copy of the early layers is trained on
          target images until critics can't tell its features and masks from the source's; the later layers are shared
          and frozen.
Paper     Dou, Ouyang, Chen, Chen, Glocker, Zhuang, Heng. PnP-AdaNet: plug-and-play adversarial domain adaptation
          network with a benchmark at cross-modality cardiac segmentation. 2018.  arXiv:1812.07907
Formula   critic: L = scale (mean F(t) - mean F(s) + mask_weight (mean M(t) - mean M(s))), then |weights| <= clip;
          module: L = -scale (mean F(t) + mask_weight mean M(t)), 0 while it warms up;  F scores the deepest levels
          and the logits on one grid, M the logits;  s from the source's network, t by module and frozen rest
Streams   source: images of "train".   target: images of "target".  No targets are read of either.
Defaults  until = "" (ours): the first half of the encoder's stages.  levels = 3 (ours; the paper's are c4, c6, b7, c9).
          mask_weight = 0.3 (paper).  scale = 0.002 (paper).  clip = 0.03 (paper).  lr = 3e-4 (paper), RMSProp's, of
          both players.  turns = 20 (paper) of the critics in a step.  warmup = 0.1 (ours) of the steps.
          width = 32 (ours).
Differs   1. The rate is constant and so are the turns (released code: 2 % less each 100 updates, one more each 300).
          2. No L2 on weights (there 1e-4 of the scale). All turns of a step see one batch, and both critics warm up.
          3. Critics have three convolutions and a mean over positions, for any size and dimension (there residual
          networks with batch norm for 256 x 256). M sees logits; in the released code it sees the most probable class,
          through which no gradient comes.
          4. A classification has its logits in the place of masks.
Checked   tests/reference/test_pnp_adanet.py: both losses typed out; at step 0 both branches answer alike; trained, the
          source's branch and the shared layers are bit-equal, critics within the clip; the MMD of features falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Optim, Player, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.ema import teacher_of
from allograft.nets.critic import Critic
from allograft.nets.modes import evaluating, unmoved
from allograft.nets.network import Network, Output, stage_of
from allograft.weights.schedule import first_stages

__all__ = ["PnPAdaNet"]


class PnPAdaNet(Method):
    """Train the early layers of a finished network against critics; see the procedure "pnp_adanet".

    Args:
        until: last stage of the module, "" for the first half of the encoder.
        levels: how many of the encoder's levels the feature critic sees, the deepest, >= 1.
        mask_weight: of the critic of logits, >= 0.
        scale: of all losses, > 0.
        clip: largest weight of a critic, > 0.
        lr: learning rate of critics and module, > 0; the recipe's does not act here.
        turns: updates of the critics in a step, >= 1.
        warmup: share of the steps in which critics alone learn, in [0, 1).
        width: channels of the critics' first layer, >= 1.
    """

    name: ClassVar[str] = "pnp_adanet"
    paper: ClassVar[Reference] = Reference(
        title="PnP-AdaNet: Plug-and-Play Adversarial Domain Adaptation Network with a Benchmark at Cross-modality "
        "Cardiac Segmentation",
        authors=("Dou", "Ouyang", "Chen", "Chen", "Glocker", "Zhuang", "Heng"),
        year=2018,
        arxiv="1812.07907",
    )

    until: str = ""
    levels: int = Field(default=3, ge=1)
    mask_weight: float = Field(default=0.3, ge=0)
    scale: float = Field(default=0.002, gt=0)
    clip: float = Field(default=0.03, gt=0)
    lr: float = Field(default=3e-4, gt=0)
    turns: int = Field(default=20, ge=1)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    width: int = Field(default=32, ge=1)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return images of both domains; nobody looks at their targets."""
        source, target = (StreamSpec(role, labelled=False, share=0.5) for role in ("train", "target"))
        return {"source": source, "target": target}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the source's network, as `nets` is now, and the critics.

        Raises:
            ConfigError: the encoder has no such stage, or sees images in pieces.
        """
        if nets["net"].bag is not None:
            msg = "pnp_adanet: critics look at features of whole images or windows. Leave net.bag out."
            raise ConfigError(msg)
        return _PnPAdaNet(self, task, nets["net"])


class _PnPAdaNet(Criterion):
    """Two players: the critics together, and the module."""

    def __init__(self, spec: PnPAdaNet, task: Task, net: Network) -> None:
        super().__init__()
        self.spec, self.head, self.source = spec, task.head, teacher_of(net)
        self.early = first_stages(net, spec.until, who=spec.name)
        dims, outputs = net.shape.dims, task.outputs
        self.features = Critic(dims, sum(net.shape.channels[-spec.levels :]) + outputs, spec.width)
        self.masks = Critic(dims if task.dense else 0, outputs, spec.width)
        self._kept: tuple[Batch, tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        self._clip()

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return critics and module, each with its own RMSProp; critics first, so that they judge it as it is."""
        spec, stages = self.spec, nets["net"].stages()
        optim = Optim(name="rmsprop", lr=spec.lr, weight_decay=0, schedule="constant", warmup=0)
        critics = (*self.features.parameters(), *self.masks.parameters())
        module = [p for name, p in nets["net"].named_parameters() if stage_of(name, stages) in self.early]
        return Player("critics", critics, optim, spec.turns), Player("module", module, optim)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the player's loss."""
        self._clip()
        net, scale, weight = nets["net"], self.spec.scale, self.spec.mask_weight
        if player == "critics":
            source, target = self._shown(net, batch)
            apart = self.features(source[0]).mean() - self.features(target[0]).mean()
            masks = self.masks(source[1]).mean() - self.masks(target[1]).mean()
            parts = {"features": apart.detach(), "masks": masks.detach()}
            return Loss(-scale * (apart + weight * masks), parts)
        self._kept = None
        if at.fraction < self.spec.warmup:  # gradients of 0: the module stays, and no statistics move
            return Loss(torch.stack([p.sum() for p in net.parameters() if p.requires_grad]).sum() * 0.0, {})
        features, logits = self._shows(net(batch["target"].image))
        return Loss(-scale * (self.features(features).mean() + weight * self.masks(logits).mean()), {})

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Forget the features of this step."""
        self._kept = None

    def _shown(self, net: Network, batch: Mapping[str, Batch]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return what the critics see of source and target: the same in all their turns of a step, so made once."""
        if self._kept is None or self._kept[0] is not batch["target"]:
            with evaluating(self.source):
                source = self._shows(self.source(batch["source"].image))
            with unmoved(net):
                target = self._shows(net(batch["target"].image))
            self._kept = (batch["target"], source, target)
        return self._kept[1:]

    def _shows(self, out: Output) -> tuple[Tensor, Tensor]:
        """Return features (B, F, *s), the logits among them, and the logits (B, O[, *S])."""
        levels, logits = out.levels[-self.spec.levels :], out.logits[self.head]
        grid = tuple(levels[0].shape[2:])
        spread = logits if logits.ndim > 2 else logits.reshape(*logits.shape, *[1] * len(grid))
        maps = [nn.functional.interpolate(x, grid, mode="area") for x in (*levels, spread)]
        return torch.cat(maps, 1), logits

    @torch.no_grad()
    def _clip(self) -> None:
        """Bring the critics' weights back into [-clip, clip]; each forward does, so each update is followed by it."""
        for critic in (self.features, self.masks):
            for parameter in critic.parameters():
                parameter.clamp_(-self.spec.clip, self.spec.clip)
