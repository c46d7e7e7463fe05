"""StreamSpec: what an objective reads in each step."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["IMAGES", "TESTED", "Another", "StreamSpec"]

IMAGES = "images"
"""Role of the images that a pretext task learns from: every training case, labelled or not, without its label."""

TESTED = "test:images"
"""Role of the images of test cases, without labels: given only to procedures that ask for it, and reports say so."""


class Another(NamedTuple):
    """Which other case of the same group (patient) may be a partner.

    Args:
        domain: "other": of another domain (modality, scanner); "same": of the same; "any".
        near: attribute whose number, a slice's or a visit's, may differ; empty: none is looked at.
        within: by how much at most, > 0.
    """

    domain: Literal["any", "other", "same"] = "any"
    near: str = ""
    within: float = 1.0


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
        like: name of another stream of the objective: this one hands out the partner of each of its cases, a case of
            the same group (patient), in its order, of the same place and augmented by the same draws.
        match: attributes in which such partners agree besides, where a group has several cases (slices).
        another: the partner is never the case itself but another of its group, with draws of its own; None: the case
            that shows the same.
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
    like: str = ""
    match: tuple[str, ...] = ()
    another: Another | None = None
