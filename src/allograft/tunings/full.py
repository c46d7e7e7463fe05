"""Full fine-tuning: every weight learns from the first step.

Idea      All tensors, transferred or not, follow the recipe's learning rate. The reference that
          every other tuning is compared with.
Paper     Yosinski, Clune, Bengio, Lipson. How transferable are features in deep neural networks?
          NeurIPS 2014.  arXiv:1411.1792
Formula   w <- w - lr * dL/dw   for every w
Streams   none (acts on the plan).
Defaults  none.
Differs   none.
Checked   tests/reference/test_full_tuning.py: every scale is 1; training moves every tensor.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.schedule import FREE

__all__ = ["FullTuning"]


class FullTuning(Method):
    """Let everything learn.

    >>> FullTuning().name
    'full'
    """

    name: ClassVar[str] = "full"
    paper: ClassVar[Reference] = Reference(
        title="How transferable are features in deep neural networks?",
        authors=("Yosinski", "Clune", "Bengio", "Lipson"),
        year=2014,
        venue="NeurIPS",
        arxiv="1411.1792",
    )

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with every tensor free for all `steps`."""
        return plan.with_learns({entry.target: FREE for entry in plan.entries}, tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
