"""Gabor first layer: synthetic edge filters in the first convolution, no images needed.

Idea      What pretraining puts into the first layer looks like Gabor filters, so they are written
          down instead of learned. Separates the gain of good edges from that of the source's data.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   g(x, y) = exp(-(x'^2 + gamma^2 y'^2) / (2 sigma^2)) cos(2 pi x' / lambda + psi)
          with x' = x cos th + y sin th,  y' = -x sin th + y cos th
Streams   none (acts before training).
Defaults  rest = "fresh" (paper).  The bank's own numbers stand in weights/gabor.py.
Differs   1. The paper does not give its bank; wavelengths, orientations, colours and the scale of the
          filters are ours.
Checked   tests/reference/test_gabor.py: the plan computes the first convolution only; the filters there
          respond to gratings of their own orientation; rest "source" copies all other tensors.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["Gabor"]


class Gabor(Method):
    """Compute the first convolution's filters.

    Args:
        rest: what all other tensors but the heads start from: "fresh" or "source" (copied).

    >>> Gabor().rest
    'fresh'
    """

    name: ClassVar[str] = "gabor"
    paper: ClassVar[Reference] = Reference(
        title="Transfusion: understanding transfer learning for medical imaging",
        authors=("Raghu", "Zhang", "Kleinberg", "Bengio"),
        year=2019,
        venue="NeurIPS",
        arxiv="1902.07208",
    )

    rest: Literal["fresh", "source"] = "fresh"

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing.

        Raises:
            PlanError: the encoder has no convolution, or its first has a kernel below 3.
        """
        rest = Action.FRESH if self.rest == "fresh" else Action.COPY
        first = Where(keys=(_first_convolution(net),))
        rules = (
            Rule(where=first, action=Action.COMPUTE, formula="gabor", why="edge filters, written down"),
            Rule(where=Where(stages=("head", "decoder")), action=Action.FRESH, why="new task"),
            Rule(action=rest, why="as built" if rest is Action.FRESH else "from the source"),
        )
        return build_plan(net, source, rules, start=self.name)


def _first_convolution(net: Network) -> str:
    """Return the name of the weight of the encoder's first convolution in the state dict."""
    for name, layer in net.encoder.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            if min(layer.kernel_size) < 3:
                msg = (
                    f'start "gabor": the first convolution, encoder.{name}, has kernel {tuple(layer.kernel_size)}, '
                    f"too small to hold an edge. Expected at least 3 along each axis; choose another encoder or start."
                )
                raise PlanError(msg)
            return f"encoder.{name}.weight"
    msg = f'start "gabor": the encoder {type(net.encoder).__name__} has no convolution. Choose another start.'
    raise PlanError(msg)
