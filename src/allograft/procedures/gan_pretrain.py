"""GAN pre-training: the encoder first learns to tell real images from made ones, then the task.

Idea      Images are many, masks are few. The discriminator of a GAN, trained on every image of the training
          folds without a label, is the encoder that the task then starts from.
Paper     Majurski et al. Cell image segmentation using generative adversarial networks, transfer learning, and
          augmentations. CVPR Workshops 2019.  doi:10.1109/CVPRW.2019.00145
Formula   1. the objective "gan" on all training images, their labels unread;  2. f <- f_D by the start `move`, then
          the recipe's objective and tuning on the task
Streams   stage 1: real, the labelled and the unlabelled training images together. Stage 2: the recipe's objective's.
Defaults  share = 0.5 of the recipe's steps (ours).  gan = GAN() with its own defaults (ours).  move = full, with
          the decoder fresh (ours).
Differs   1. Layers, rates and numbers of steps of the paper are not known to us; any encoder and budget goes.
          2. The budget of a recipe holds both stages, so that it is compared fairly with one that trains on
          the task alone.
          3. The first stage has nothing to be validated by: its last weights move on, and no rate is searched.
Checked   tests/reference/test_gan_pretrain.py: stages, shares and roles with a fake Lab, and no label read; the
          moved encoder is the discriminator's bit for bit; the second stage starts elsewhere than without.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.data.cohort import Cohort
from allograft.nets.network import Network
from allograft.objectives.gan import GAN
from allograft.starts.full import Full
from allograft.tunings.full import FullTuning

__all__ = ["GANPretrain"]


class GANPretrain(Method):
    """Train the encoder as a discriminator of images without labels, then on the task.

    The recipe's start and source say how the first stage begins; `move` how its result is carried over.

    Args:
        share: of the recipe's steps for the first stage, in (0, 1); the rest trains on the task.
        gan: settings of the first stage.
        move: settings of the start "full" that carries the encoder over.
    """

    name: ClassVar[str] = "gan_pretrain"
    paper: ClassVar[Reference] = Reference(
        title="Cell Image Segmentation Using Generative Adversarial Networks, Transfer Learning, and Augmentations",
        authors=("Majurski", "et al."),
        year=2019,
        venue="CVPR Workshops",
        doi="10.1109/CVPRW.2019.00145",
    )

    share: float = Field(default=0.5, gt=0, lt=1)
    gan: GAN = GAN()
    move: Full = Full()

    def run(self, lab: Lab) -> Network:
        """Train one stage called "gan", move the encoder, train "finetune", return the network."""
        first = lab.start(tasks=self.gan.tasks(lab.net.dims))
        given = {self.gan.role: _images(lab)}
        net = lab.train("gan", first, objective=self.gan, cohorts=given, tuning=FullTuning(), share=self.share)
        moved = lab.start(source=lab.source(net, "gan"), start=self.move)
        return lab.train("finetune", moved, share=1 - self.share)


def _images(lab: Lab) -> Cohort:
    """Return all training images, labelled or not."""
    train = lab.cohorts["train"]
    more = lab.cohorts["unlabelled"].cases if "unlabelled" in lab.cohorts else ()
    return replace(train, cases=(*train.cases, *more))
