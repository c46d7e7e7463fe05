"""Bias only: bias terms of the encoder learn, with decoder and heads.

Idea      Shifts alone, under a thousandth of the weights, often adapt an encoder nearly as well as full
          fine-tuning on small data, and leave every filter as it was.
Paper     Ben Zaken, Goldberg, Ravfogel. BitFit: simple parameter-efficient fine-tuning for
          transformer-based masked language-models. ACL 2022.  arXiv:2106.10199
Formula   scale(w) = 1 for every bias (shifts of norm layers included), decoder, heads; else 0
Streams   none (acts on the plan).
Defaults  none.
Differs   1. In networks with batch norm the biases are mostly those of the norm layers; the running
          statistics of such a layer follow the data (the paper's networks have none).
Checked   tests/reference/test_bias_only.py: the learning tensors are those named "bias" and the head;
          every other weight bit-equal after training, biases move; a net without biases is refused.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.schedule import FREE, FROZEN, is_task, norm_modules, require_heads

__all__ = ["BiasOnly"]


class BiasOnly(Method):
    """Let only biases, decoder and heads learn.

    >>> BiasOnly().name
    'bias_only'
    """

    name: ClassVar[str] = "bias_only"
    paper: ClassVar[Reference] = Reference(
        title="BitFit: simple parameter-efficient fine-tuning for transformer-based masked language-models",
        authors=("Ben Zaken", "Goldberg", "Ravfogel"),
        year=2022,
        venue="ACL",
        arxiv="2106.10199",
    )

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with the encoder frozen for all `steps`, its biases excepted.

        Raises:
            PlanError: the encoder has no bias, or there is no head.
        """
        require_heads(plan, self.name)
        if not any(_is_bias(e) for e in plan.entries if not is_task(e.stage)):
            msg = (
                'tuning "bias_only": the encoder has no bias, so only the heads would learn. '
                'Use the tuning "frozen", or an encoder with biases.'
            )
            raise PlanError(msg)
        shifted = norm_modules(plan, affine="bias")

        def learns(entry: Entry) -> bool:
            # A layer whose shift learns runs in training mode, so its statistics move: the row says so.
            moving = entry.kind == "norm_stat" and entry.target.rpartition(".")[0] in shifted
            return is_task(entry.stage) or _is_bias(entry) or moving

        return plan.with_learns({e.target: FREE if learns(e) else FROZEN for e in plan.entries}, tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None


def _is_bias(entry: Entry) -> bool:
    """Tell whether an entry is a bias or the shift of a normalisation layer."""
    return entry.kind == "bias" or (entry.kind == "norm_affine" and entry.target.endswith("bias"))
