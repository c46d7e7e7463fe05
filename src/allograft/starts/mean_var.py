"""Mean-Var: keep only the mean and the variance of each pretrained layer.

Idea      Draw every weight from a normal law with the layer's own pretrained mean and variance.
          Separates the gain that is due to scale from the gain that is due to features.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   W_l ~ N(mean(W_l'), var(W_l'))   independent entries, W_l' the source tensor, population variance
Streams   none (acts before training).
Defaults  norm = "identity" (ours; the paper does not say).  decoder = "fresh" (ours; the paper has none).
Differs   1. Where the fan-in changes (2-D to 3-D, other channel count) the variance is divided by the
          ratio of fan-ins, so that a layer's output keeps its variance (in the paper it never changes).
          2. Running statistics are never drawn: a negative running variance gives NaN. 3. Index tables
          and other buffers stay as built.
Checked   tests/reference/test_mean_var.py: moments within 4 standard errors of the source's; correlation
          with the source 0 within 4 / sqrt(N), no entry equal; running variance > 0 under every option.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["MeanVar"]

AFFINE = Where(kinds=("norm_affine",))
STATS = Where(kinds=("norm_stat",))
BUFFERS = Where(kinds=("buffer",))


class MeanVar(Method):
    """Start from the layer-wise moments of the source weights.

    Args:
        norm: what normalisation layers start from. "identity": scale 1, shift 0, statistics 0 and 1.
            "sample": draw scale and shift too, statistics as before. "copy": all from the source.
        decoder: "fresh", or "sample" where the source has the same decoder.

    >>> MeanVar().norm
    'identity'
    """

    name: ClassVar[str] = "mean_var"
    paper: ClassVar[Reference] = Reference(
        title="Transfusion: understanding transfer learning for medical imaging",
        authors=("Raghu", "Zhang", "Kleinberg", "Bengio"),
        year=2019,
        venue="NeurIPS",
        arxiv="1902.07208",
    )

    norm: Literal["identity", "sample", "copy"] = "identity"
    decoder: Literal["fresh", "sample"] = "fresh"

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing."""
        affine = {"identity": Action.FRESH, "sample": Action.SAMPLE, "copy": Action.COPY}[self.norm]
        stats = Action.COPY if self.norm == "copy" else Action.FRESH
        why = f"normalisation: {self.norm}"
        fresh = ("head", "decoder") if self.decoder == "fresh" else ("head",)
        rules = (
            Rule(where=Where(stages=fresh), action=Action.FRESH, why="new task"),
            Rule(where=AFFINE, action=affine, why=why),
            Rule(where=STATS, action=stats, why=why if stats is affine else "statistics are never drawn"),
            Rule(where=BUFFERS, action=Action.FRESH, why="no weights: as built"),
            Rule(action=Action.SAMPLE, why="layer mean and variance only"),
        )
        return build_plan(net, source, rules, start=self.name)
