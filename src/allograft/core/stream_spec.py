"""StreamSpec: what an objective reads in each step."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["StreamSpec"]


class StreamSpec(NamedTuple):
    """What an objective reads.

    Args:
        role: the cohort's.
        batch: cases in a step, 0 for `share` of the budget's.
        views: further copies of each image.
        labelled: whether targets are handed out; otherwise nobody looks at them.
        look: of the views: "augment", the study's own with other draws (another place, so not for masks); "strong":
            of images the preset "strong", of windows "photometric" on top of the batch's own image (the same place).
        balance: every class equally often.
        share: of the budget's batch; rounded so that shares that sum to 1 give all of it.
        heads: further heads whose targets are handed out where the cases carry them (`Cohort.also`).
        pixels: the step changes images itself, so cached features of a frozen encoder would be of no use.
    """

    role: str = "train"
    batch: int = 0
    views: int = 0
    labelled: bool = True
    look: Literal["augment", "strong"] = "augment"
    balance: bool = False
    share: float = 1.0
    pixels: bool = False
    heads: tuple[str, ...] = ()
