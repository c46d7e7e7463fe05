"""Norm only: scales and shifts of normalisation layers learn, with decoder and heads.

Idea      A few thousand numbers that rescale and shift features adapt an encoder surprisingly far, and
          cannot forget what the other weights hold. With a random encoder it is a baseline of its own.
Paper     Frankle, Schwab, Morcos. Training BatchNorm and only BatchNorm: on the expressive power of
          random features in CNNs. ICLR 2021.  arXiv:2003.00152
Formula   scale(w) = 1 for gamma, beta and running statistics of norm layers, decoder, heads; else 0
Streams   none (acts on the plan).
Defaults  none.
Differs   1. The heads learn too (the paper freezes them at random values in most experiments, but a
          new task needs them). 2. All kinds of normalisation count, not only batch norm.
Checked   tests/reference/test_bn_only.py: the learning tensors are those of torch's norm layers and the
          head; other tensors bit-equal after training, affine moves; a net without norms is refused.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.schedule import FREE, FROZEN, is_task, norm_modules, require_heads

__all__ = ["BNOnly"]


class BNOnly(Method):
    """Let only normalisation layers, decoder and heads learn.

    >>> BNOnly().name
    'bn_only'
    """

    name: ClassVar[str] = "bn_only"
    paper: ClassVar[Reference] = Reference(
        title="Training BatchNorm and only BatchNorm: on the expressive power of random features in CNNs",
        authors=("Frankle", "Schwab", "Morcos"),
        year=2021,
        venue="ICLR",
        arxiv="2003.00152",
    )

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with the encoder frozen for all `steps`, its normalisation layers excepted.

        Raises:
            PlanError: the encoder has no normalisation layer with scale and shift, or there is no head.
        """
        require_heads(plan, self.name)
        if not norm_modules(plan):
            msg = (
                'tuning "bn_only": the encoder has no normalisation layer with scale and shift, so only the '
                'heads would learn. Use the tuning "frozen", or an encoder with normalisation.'
            )
            raise PlanError(msg)
        learns = {
            e.target: FREE if is_task(e.stage) or e.kind in {"norm_affine", "norm_stat"} else FROZEN
            for e in plan.entries
        }
        return plan.with_learns(learns, tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
