"""L2-SP: the penalty pulls transferred weights to their starting point instead of to zero.

Idea      Weight decay says "small is good"; after transfer, "close to the source" is the better belief.
          The other weights (heads, fresh layers) keep the usual decay.
Paper     Li, Grandvalet, Davoine. Explicit inductive bias for transfer learning with convolutional
          networks. ICML 2018.  arXiv:1802.01483
Formula   penalty(w) = alpha/2 * ||w_S - w0_S||^2 + beta/2 * ||w_rest||^2   with S the transferred weights
Streams   none (adds to the loss of every step).
Defaults  alpha = 0.1 (ours; the paper searches it).  beta = 0.01 (ours).
Differs   1. The starting point is the weight after conversion (inflated, rescaled), which equals the
          source's where nothing had to be converted. 2. Biases and norm scales and shifts are in the
          penalty like all weights. 3. The optimiser's own weight decay is not switched off; the plan
          notes that it pulls to zero as well.
Checked   tests/reference/test_l2_sp.py: value and gradient against the formula typed in numpy; gradient
          of the alpha term 0 at the start; training with it ends closer to the start than without.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import CONVERSIONS, Action
from allograft.weights.schedule import FREE

__all__ = ["L2SP"]

TRANSFERRED = CONVERSIONS | {Action.COPY, Action.SELECT}
LEARNING = frozenset({"weight", "bias", "norm_affine", "position"})


class L2SP(Method):
    """Let everything learn, pulled towards where it started.

    Args:
        alpha: strength of the pull of transferred weights to their start, > 0.
        beta: strength of the pull of the other weights to zero, >= 0.

    >>> L2SP(alpha=0.01).beta
    0.01
    """

    name: ClassVar[str] = "l2_sp"
    paper: ClassVar[Reference] = Reference(
        title="Explicit inductive bias for transfer learning with convolutional networks",
        authors=("Li", "Grandvalet", "Davoine"),
        year=2018,
        venue="ICML",
        arxiv="1802.01483",
    )

    alpha: float = Field(default=0.1, gt=0)
    beta: float = Field(default=0.01, ge=0)

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with every tensor free for all `steps` and a note on the pull.

        Raises:
            PlanError: nothing is transferred, so there is no starting point to pull to.
        """
        pulled = [e for e in plan.entries if e.action in TRANSFERRED and e.kind in LEARNING]
        if not pulled:
            msg = (
                f'tuning "l2_sp": the start "{plan.start}" transfers no weight, so there is no starting point to '
                f'pull to. Use a start that copies (full, partial), or the tuning "full".'
            )
            raise PlanError(msg)
        note = (
            f"l2_sp pulls {sum(e.numbers for e in pulled)} transferred numbers to their start (alpha = {self.alpha:g}) "
            f"and the rest to zero (beta = {self.beta:g}); the optimiser's weight_decay pulls all to zero as well."
        )
        free = plan.with_learns({e.target: FREE for e in plan.entries}, tuning=self.name)
        return free.with_notes(note)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return the penalty, its starting point taken from `net` as it is now (after `apply`)."""
        pulled = {e.target for e in plan.entries if e.action in TRANSFERRED and e.kind in LEARNING}
        return _Pull(net, pulled, alpha=self.alpha, beta=self.beta)


class _Pull(nn.Module):
    """Holds the starting point in buffers; forward(net) gives the scalar penalty."""

    def __init__(self, net: nn.Module, pulled: Iterable[str], *, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        wanted = set(pulled)
        self.names = [name for name, _ in net.named_parameters() if name in wanted]
        for index, name in enumerate(self.names):  # names hold dots, which buffers must not
            self.register_buffer(f"start_{index}", net.get_parameter(name).detach().clone())

    def forward(self, net: nn.Module) -> Tensor:
        """Return alpha/2 ||w_S - w0_S||^2 + beta/2 ||w_rest||^2, a scalar."""
        starts = {name: getattr(self, f"start_{index}") for index, name in enumerate(self.names)}
        near: list[Tensor] = []
        rest: list[Tensor] = []
        for name, value in net.named_parameters():
            if name in starts:
                near.append((value - starts[name]).square().sum())
            else:
                rest.append(value.square().sum())
        return self.alpha / 2 * _total(near) + self.beta / 2 * _total(rest)


def _total(parts: list[Tensor]) -> Tensor:
    """Return the sum of scalars, 0 for none."""
    return torch.stack(parts).sum() if parts else torch.zeros(())
