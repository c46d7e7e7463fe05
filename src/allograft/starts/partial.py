"""Partial transfer ("transfusion"): the lowest stages come from the source, the rest does not.

Idea      Feature reuse sits mostly in the lowest layers. Copying a contiguous block from the input up
          shows how much of the gain each further stage brings.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   w_i = w_source_i for stages i <= k;  w_i = w_init(seed), or Mean-Var of the source, above
Streams   none (acts before training).
Defaults  k = 2 when neither k nor until is given (ours; the largest gains come with the first two
          stages).  rest = "fresh" (paper).  channels = "auto" (ours).  new_channels = "mean" (ours).
          fill = "average" (ours).  kernel = "refuse" (ours).
Differs   1. Counts the encoder's named stages, the stem being the first.
Checked   tests/reference/test_partial.py: bit-equal at or below stage k, different above; k = 0 equals
          scratch under the same seed, k = all equals full; unknown stages are refused.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from allograft.contracts import Method
from allograft.core.errors import PlanError, did_you_mean
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import CONVERTED, Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["Partial"]


class Partial(Method):
    """Copy the encoder's lowest stages.

    Args:
        until: name of the last stage that is copied, for example "stage2".
        k: how many of the lowest stages are copied, >= 0; give this or `until`, not both.
        rest: what the stages above start from: "fresh" or "mean_var" (moments of the source).
        channels: how 3 input channels become c (see `Rule`).
        new_channels: where channels are known by name, what a new one starts from: "mean", "zero" or "fresh" (see
            `Rule`).
        fill: how 2-D kernels become 3-D (see `Rule`).
        kernel: how kernels get another size: "refuse", "centre" or "average" (see `Rule`).

    >>> Partial(until="stage2").rest
    'fresh'
    """

    name: ClassVar[str] = "partial"
    paper: ClassVar[Reference] = Reference(
        title="Transfusion: understanding transfer learning for medical imaging",
        authors=("Raghu", "Zhang", "Kleinberg", "Bengio"),
        year=2019,
        venue="NeurIPS",
        arxiv="1902.07208",
    )

    until: str | None = None
    k: int | None = Field(default=None, ge=0)
    rest: Literal["fresh", "mean_var"] = "fresh"
    channels: Literal["auto", "sum", "mean", "cycle"] = "auto"
    new_channels: Literal["mean", "zero", "fresh"] = "mean"
    fill: Literal["average", "centre", "slice"] = "average"
    kernel: Literal["refuse", "centre", "average"] = "refuse"

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.until is not None and self.k is not None:
            msg = f'give until or k, not both (got until = "{self.until}" and k = {self.k})'
            raise ValueError(msg)
        return self

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing.

        Raises:
            PlanError: the encoder has no such stage, or fewer than k.
        """
        stages = tuple(stage.name for stage in net.shape.stages())
        copied = self._copied(stages)
        rules = [Rule(where=Where(stages=("head", "decoder")), action=Action.FRESH, why="new task")]
        if copied:
            why = f"copied up to {copied[-1]}"
            where = Where(stages=copied)
            rules.append(Rule(where=where, action=Action.COPY, why=why, **self.model_dump(include={*CONVERTED})))
        if self.rest == "mean_var":
            moments = Where(stages=stages, kinds=("weight", "bias", "position"))
            rules.append(Rule(where=moments, action=Action.SAMPLE, why="above: layer mean and variance only"))
        rules.append(Rule(action=Action.FRESH, why="above: as built" if copied else "k = 0 copies no stage"))
        plan = build_plan(net, source, tuple(rules), start=self.name)
        return plan.with_notes(*_limits(copied, stages, self.rest))

    def _copied(self, stages: tuple[str, ...]) -> tuple[str, ...]:
        """Return the stages that are copied, or refuse the limit."""
        if self.until is not None:
            if self.until not in stages:
                msg = f'start "partial": the encoder has no stage "{self.until}". {did_you_mean(self.until, stages)}'
                raise PlanError(msg)
            return stages[: stages.index(self.until) + 1]
        k = 2 if self.k is None else self.k
        if k > len(stages):
            msg = (
                f'start "partial": k = {k}, but the encoder has {len(stages)} stages ({", ".join(stages)}). '
                f"Expected 0 to {len(stages)}."
            )
            raise PlanError(msg)
        return stages[:k]


def _limits(copied: tuple[str, ...], stages: tuple[str, ...], rest: str) -> list[str]:
    """Say so where partial transfer is not partial."""
    if not copied:
        return [f'partial with k = 0 copies no stage: it is the start "{"scratch" if rest == "fresh" else rest}".']
    if len(copied) == len(stages):
        return ['partial copies all stages of the encoder: it is the start "full".']
    return []
