"""Tent: train on the source, then make the answers on target images sure by norm layers' scales and shifts.

Idea      As the objective "tent": entropy is at hand where labels are not, and scales and shifts are enough to follow
          a change of scanner.
Paper     Wang, Shelhamer, Liu, Olshausen, Darrell. Tent: fully test-time adaptation by entropy minimization. ICLR 2021.
          arXiv:2006.10726
Formula   1. the recipe's objective on the source;  2. gamma, beta of all normalisation layers to the smallest mean
          entropy on the target's images, each batch normalised by its own statistics;  3. running statistics from
          those images
Streams   stage "source": the recipe's objective's.  Stage "tent": images of "target"; their targets are never read.
Defaults  share = 0.1 (ours) of the recipe's steps for the second stage.  adapt = Tent() with its own defaults (ours).
          passes = 4 (ours) over the target's images for the statistics.
Differs   1. The paper adapts while it predicts, batch by batch, and normalises test cases by their own batch. Here the
          target's training images take that part, because the lab never sees test cases, and test cases are
          normalised by the statistics of those, so that a prediction does not depend on its neighbours.
          2. The budget of a recipe holds both stages. The second has nothing to be validated by: its last weights
          stay, and no rate is searched.
Checked   tests/reference/test_tent.py: stages, shares and roles with a fake Lab; all but scales, shifts and statistics
          are the source network's bit for bit; a network without them is refused.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.nets.batch_norms import batch_norms
from allograft.nets.network import Network
from allograft.objectives.tent import LACKING, Tent
from allograft.procedures.continuation import go_on, target_of
from allograft.tunings.only import Only

__all__ = ["TentAfterSource"]


class TentAfterSource(Method):
    """Train the recipe on the source, then minimise entropy on the target.

    Args:
        share: of the recipe's steps for the second stage, in (0, 1).
        adapt: settings of the second stage; its role is the target.
        passes: over the target's images for running statistics, >= 1.
    """

    name: ClassVar[str] = "tent"
    paper: ClassVar[Reference] = Tent.paper

    share: float = Field(default=0.1, gt=0, lt=1)
    adapt: Tent = Tent()
    passes: int = Field(default=4, ge=1)

    def run(self, lab: Lab) -> Network:
        """Train stages "source" and "tent", measure running statistics, return the network.

        Raises:
            ConfigError: the network has no scales and shifts, or the study no target domain.
        """
        target, started = target_of(lab, self.name), lab.start()
        if not any(entry.kind == "norm_affine" for entry in started.plan.entries):
            raise ConfigError(LACKING)
        net = lab.train("source", started, share=1 - self.share)
        only = Only(kinds=("norm_affine", "norm_stat"), lacking=LACKING)
        given = {self.adapt.role: target}
        net = lab.train(
            "tent", go_on(lab, net, "source"), objective=self.adapt, cohorts=given, tuning=only, share=self.share
        )
        if batch_norms(net):
            lab.restate(net, target, passes=self.passes)
        return net
