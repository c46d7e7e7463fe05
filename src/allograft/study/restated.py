"""Restated: statistics of normalisation layers measured on images as training sees them, without augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from allograft.data.cohort import Cohort
from allograft.data.roster import Roster
from allograft.data.streams import StoreStreams
from allograft.data.transforms.augment import Augment
from allograft.nets.batch_norms import restate
from allograft.nets.network import Network
from allograft.study.arm import Arm

__all__ = ["plain_batches", "restate_on"]


def restate_on(arm: Arm, net: Network, cohort: Cohort, *, passes: int, seed: int) -> None:
    """Measure the running statistics of batch norms anew on a cohort's images, in batches of the recipe's budget."""
    with arm.device.session():
        restate(net, plain_batches(arm, cohort, passes=passes, seed=seed))


def plain_batches(arm: Arm, cohort: Cohort, *, passes: int, seed: int) -> Iterator[Tensor]:
    """Yield batches (B, C, *S) of one size, normalised; of a segmentation a window of each case, drawn anew each time.

    A pass is over all cases in a random order. Where the budget's batch does not divide their number it is made a
    little smaller, and a few cases come once more, so that every batch counts alike. Targets are never looked at.

    Args:
        arm: the recipe on its data.
        cohort: whose images.
        passes: over the cohort, >= 1.
        seed: of order and windows.
    """
    count = -(-len(cohort) // arm.recipe.budget.batch)
    roster = Roster(cohort=cohort, batch=-(-len(cohort) // max(1, count)), labelled=False)
    streams = StoreStreams({"plain": arm.pool_of(cohort).stream(roster, Augment(), 0)}, seed=seed)
    for step in range(passes * count):
        image = streams.at(step)["plain"].image
        assert isinstance(image, Tensor), "streams of a store hold images"
        yield image
