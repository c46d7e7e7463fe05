"""Followed: what objectives share whose target is made by a slow copy of encoder and projector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from allograft.functional.ema import ema_update, teacher_of
from allograft.nets.network import Network
from allograft.objectives.two_views import ViewsCriterion

__all__ = ["FollowedCriterion"]


class FollowedCriterion(ViewsCriterion):
    """Owns a projector, and a copy of network and projector that no gradient reaches and that follows them slowly.

    The copy works in the modes of what it follows. Its parameters are averaged; running statistics of its norm
    layers come from its own passes, as in the released code of the methods that use it. In several processes it moves
    alike in all, since parameters do; the first one's running statistics are kept.
    """

    def __init__(self, net: Network, projector: nn.Module) -> None:
        super().__init__()
        self.projector = projector
        self.slow_net, self.slow_projector = teacher_of(net), teacher_of(projector)

    def embed(self, net: Network, image: Tensor) -> Tensor:
        """Return projections (B, D) of images (B, C, *S)."""
        found: Tensor = self.projector(net(image).pooled)
        return found

    def targets(self, net: Network, *images: Tensor) -> list[Tensor]:
        """Return the slow copy's projections (B, D) of each set of images, without gradient."""
        for slow, fast in ((self.slow_net, net), (self.slow_projector, self.projector)):
            for mine, theirs in zip(slow.modules(), fast.modules(), strict=True):
                mine.training = theirs.training  # a validation of the copy leaves its own mode behind
        with torch.no_grad():
            return [self.slow_projector(self.slow_net(image).pooled) for image in images]

    def follow(self, nets: Mapping[str, Network], decay: float) -> None:
        """Move the copy: a share `decay` of it stays."""
        ema_update(self.slow_net, nets["net"], decay, buffers="own")
        ema_update(self.slow_projector, self.projector, decay, buffers="own")
