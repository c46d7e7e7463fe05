"""PnP-AdaNet: train on the source, then fit the early layers to the target against critics of features and masks.

Idea      As the objective "pnp_adanet": the source's later layers are kept as they are, and early layers of the
          target's own are plugged into them.
Paper     Dou, Ouyang, Chen, Chen, Glocker, Zhuang, Heng. PnP-AdaNet: plug-and-play adversarial domain adaptation
          network with a benchmark at cross-modality cardiac segmentation. 2018.  arXiv:1812.07907
Formula   1. f = late(early(x)) by the recipe's objective on the source;  2. module <- early, then module against the
          critics, late frozen;  the target's network is late(module(x))
Streams   stage "source": the recipe's objective's.  Stage "adapt": images of "train" and "target"; their targets are
          never read.
Defaults  share = 0.5 (ours) of the recipe's steps for the second stage.  adapt = PnPAdaNet() with its own defaults
          (ours).
Differs   1. The budget of a recipe holds both stages. The second has nothing to be validated by: its last weights
          stay, and no rate is searched.
          2. The network that is returned and tested is the target's, on source cases too, where the paper takes the
          source's own early layers.
Checked   tests/reference/test_pnp_adanet.py: stages, shares and roles with a fake Lab; the second stage begins as the
          first ended, bit for bit, with the module's stages alone free.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.objectives.pnp_adanet import PnPAdaNet
from allograft.procedures.continuation import go_on, target_of
from allograft.tunings.only import Only
from allograft.weights.schedule import first_stages

__all__ = ["PnPAdaNetAfterSource"]


class PnPAdaNetAfterSource(Method):
    """Train the recipe on the source, then its early layers on the target.

    Args:
        share: of the recipe's steps for the second stage, in (0, 1).
        adapt: settings of the second stage.
    """

    name: ClassVar[str] = "pnp_adanet"
    paper: ClassVar[Reference] = PnPAdaNet.paper

    share: float = Field(default=0.5, gt=0, lt=1)
    adapt: PnPAdaNet = PnPAdaNet()

    def run(self, lab: Lab) -> Network:
        """Train stages "source" and "adapt"; return the target's network.

        Raises:
            ConfigError: the study has no target domain, or the encoder no stage of that name.
        """
        target_of(lab, self.name)
        started = lab.start()
        early = Only(stages=first_stages(started.net, self.adapt.until, who=self.name))
        net = lab.train("source", started, share=1 - self.share)
        return lab.train("adapt", go_on(lab, net, "source"), objective=self.adapt, tuning=early, share=self.share)
