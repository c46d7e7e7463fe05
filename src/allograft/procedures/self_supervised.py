"""Self-supervised pre-training: learn from the study's own images without labels, then the task.

Idea      Labels are few, images are many. A pretext task that images answer themselves trains the encoder; the task
          then starts from it. The study says whether that was worth the steps.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829
Formula   1. min over w and what the pretext task adds of L_pretext(f_w; x), x without labels;  2. f <- f_w by the start
          `move`, then the recipe's objective and tuning on the task
Streams   stage 1: images, the labelled and the unlabelled training images together, no label read. Stage 2: the
          recipe's objective's.
Defaults  pretext = rotation (paper).  share = 0.5 of the recipe's steps (ours).  augment = "views" (ours).  move =
          full, with the decoder fresh (paper).
Differs   1. The budget of a recipe holds both stages, so that it is compared fairly with one that trains on the task
          alone; the paper trains each stage for hundreds of epochs.
          2. No test image of the run's fold is seen in stage 1, as if the network were to meet new patients.
          3. The paper keeps the encoder frozen for the first 25 of 400 epochs of fine-tuning: the recipe's tuning says
          so here (tuning: {lp_ft: {share: 0.0625}}).
          4. The first stage is watched on validation images, and nothing is chosen by it: its last weights move on.
Checked   tests/reference/test_self_supervised.py: stages, shares and roles with a fake Lab, and no label read; the
          encoder is handed on bit for bit; the second stage starts elsewhere than without.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, cast

from pydantic import Field, field_validator

from allograft.contracts import Lab, Method, Objective
from allograft.core.named import Named
from allograft.core.reference import Reference
from allograft.data.cohort import Cohort
from allograft.data.transforms.augment import Augment
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, Pretext
from allograft.objectives.rotation import Rotation
from allograft.starts.full import Full
from allograft.tunings.full import FullTuning

__all__ = ["SelfSupervised"]


class SelfSupervised(Method):
    """Train a pretext task on images without labels, then the task.

    The recipe's start and source say how the first stage begins; `move` how its result is carried over.

    Args:
        pretext: what the first stage minimises, an objective that needs no labels.
        share: of the recipe's steps for the first stage, in (0, 1); the rest trains on the task.
        augment: what images and views of the first stage go through; None the recipe's own.
        move: settings of the start "full" that carries the encoder over.
    """

    name: ClassVar[str] = "self_supervised"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    pretext: Annotated[Objective, Named("objective")] = Rotation()
    share: float = Field(default=0.5, gt=0, lt=1)
    augment: Augment | None = Augment(preset="views")
    move: Full = Full()

    @field_validator("pretext")
    @classmethod
    def _needs_no_labels(cls, pretext: Objective) -> Objective:
        if not isinstance(pretext, Pretext):
            msg = f'"{pretext.name}" reads labels; name an objective that needs none, like rotation or simclr'
            raise ValueError(msg)  # noqa: TRY004 - pydantic places it in the file
        return pretext

    def run(self, lab: Lab) -> Network:
        """Train one stage called "pretext", move the encoder, train "finetune", return the network."""
        given = {IMAGES: _images(lab), f"val:{IMAGES}": lab.cohorts["val"].without_targets()}
        first = lab.start(tasks=cast("Pretext", self.pretext).tasks(lab.net.dims))
        net = lab.train(
            "pretext",
            first,
            objective=self.pretext,
            cohorts=given,
            tuning=FullTuning(),
            share=self.share,
            augment=self.augment,
        )
        moved = lab.start(source=lab.source(net, "pretext"), start=self.move)
        return lab.train("finetune", moved, share=1 - self.share)


def _images(lab: Lab) -> Cohort:
    """Return all training images, labelled or not, without their labels."""
    train = lab.cohorts["train"]
    more = [lab.cohorts[role].cases for role in ("unlabelled", "target") if role in lab.cohorts]
    known = {case.id: case for cases in (train.cases, *more) for case in cases}
    return replace(train, cases=tuple(known.values())).without_targets()
