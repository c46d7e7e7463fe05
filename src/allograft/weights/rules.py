"""Rules: printable statements of what tensors become; the first that matches wins."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from allograft.core.config import Config

__all__ = ["CONVERSIONS", "CONVERTED", "Action", "Kind", "Rule", "Where"]

Kind = Literal["weight", "bias", "norm_affine", "norm_stat", "position", "buffer"]
"""What a tensor is; norm_stat holds running statistics and the batch counter."""


class Action(StrEnum):
    """Where a tensor's value comes from."""

    COPY = "copy"
    RESCALE = "rescale"  # input channels changed, activation kept
    INFLATE = "inflate"  # 2-D kernel to 3-D
    COLLAPSE = "collapse"  # 3-D kernel to 2-D, summed over depth
    RESIZE = "resize"  # kernel of another size
    RESAMPLE = "resample"  # position grid interpolated
    SELECT = "select"  # rows chosen by a label map, or leading channels (slim)
    SAMPLE = "sample"  # drawn from the source tensor's mean and variance
    COMPUTE = "compute"  # from a formula, e.g. Gabor
    FRESH = "fresh"  # as the network was built from its seed


CONVERSIONS = frozenset({Action.RESCALE, Action.INFLATE, Action.COLLAPSE, Action.RESIZE, Action.RESAMPLE})
"""What a rule that copies becomes where shapes or channels differ."""


CONVERTED = frozenset({"channels", "new_channels", "fill", "kernel"})
"""Fields of a rule that say how; starts that copy have them too."""


class Where(Config):
    """Selects tensors; empty fields match everything.

    Args:
        stages: stage names; "head" also matches "head.lesion".
        kinds: kinds of tensor.
        keys: exact names in the network's state dict.
    """

    stages: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    keys: tuple[str, ...] = ()

    def matches(self, *, key: str, stage: str, kind: str) -> bool:
        """Tell whether a tensor is selected."""
        in_stage = not self.stages or any(stage == s or stage.startswith(s + ".") for s in self.stages)
        return in_stage and (not self.kinds or kind in self.kinds) and (not self.keys or key in self.keys)


class Rule(Config):
    """One line of a start.

    Args:
        where: which tensors.
        action: what becomes of them.
        why: the reason, shown in the plan.
        channels: how 3 input channels become c where their names are not known on both sides: "sum" (activation
            of a grey image kept for c = 1), "mean" (mean times 3 / c), "cycle" (repeated, times 3 / c); "auto" is
            sum for 1, mean else.
        new_channels: where names are known, what a channel starts from that the source has not: "mean" of those
            that are shared (all scaled so that equal channels give what they gave), "zero", or "fresh" as built.
        fill: how a 2-D kernel becomes 3-D: "average" (repeated, divided by depth), "centre", "slice".
        kernel: how a kernel gets another size: "refuse", "centre" (cropped, or padded with zeros), "average"
            (area resampling; the sum of the kernel is kept).
        by: for SELECT, how rows are chosen: "leading" ones, or by the "name" of the class (heads only).
        formula: for COMPUTE, the name of the formula, e.g. "gabor".
    """

    where: Where = Where()
    action: Action
    why: str
    channels: Literal["auto", "sum", "mean", "cycle"] = "auto"
    new_channels: Literal["mean", "zero", "fresh"] = "mean"
    fill: Literal["average", "centre", "slice"] = "average"
    kernel: Literal["refuse", "centre", "average"] = "refuse"
    by: Literal["leading", "name"] = "leading"
    formula: str = ""
