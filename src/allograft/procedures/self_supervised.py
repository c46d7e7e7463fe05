"""Self-supervised pre-training: learn from the study's own images without labels, then the task.

Idea      Labels are few, images are many. A pretext task that images answer themselves trains the encoder; the task
          then starts from it. The study says whether that was worth the steps.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829
Formula   1. min over w and what the pretext task adds of L_pretext(f_w; x), x without labels;  2. f <- f_w by the start
          `move`, then the recipe's objective and tuning on the task
Streams   stage 1: images, the labelled and the unlabelled training images together, no label read. Stage 2: the
          recipe's objective's.
Defaults  pretext = rotation (paper).  images = train (ours).  on = none (ours).  share = 0.5 of the steps (ours).
          augment = "views" (ours).  move = full, with the decoder fresh (paper).
Differs   1. The budget of a recipe holds both stages, so that it is compared fairly with one that trains on the task
          alone; the paper trains each stage for hundreds of epochs.
          2. No test image of the run's fold is seen in stage 1, as if the network were to meet new patients; with
          images = all they are, without labels, and the report says so.
          3. The paper keeps the encoder frozen for the first 25 of 400 epochs of fine-tuning: the recipe's tuning says
          so here (tuning: {lp_ft: {share: 0.0625}}).
          4. The first stage is watched on validation images, and nothing is chosen by it: its last weights move on.
Checked   tests/reference/test_self_supervised.py: stages, shares and roles with a fake Lab, and no label read; the
          encoder is handed on bit for bit; the second stage starts elsewhere than without.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from allograft.contracts import Lab, Method, Objective
from allograft.core.named import Named
from allograft.core.reference import Reference
from allograft.data.cohort import Cohort
from allograft.data.transforms.augment import Augment
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, TESTED, Pretext
from allograft.objectives.rotation import Rotation
from allograft.procedures.link import require_known
from allograft.starts.full import Full
from allograft.tunings.full import FullTuning

__all__ = ["SelfSupervised"]


class SelfSupervised(Method):
    """Train a pretext task on images without labels, then the task.

    The recipe's start and source say how the first stage begins; `move` how its result is carried over.

    Args:
        pretext: what the first stage minimises, an objective that needs no labels.
        images: what the first stage sees: "train", the training images of the fold; "all", those and the images of
            its test cases, for a network that is to judge just these (a report calls that contamination).
        on: an auxiliary data set of the study whose images the first stage sees in place of the studied ones.
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
    images: Literal["train", "all"] = "train"
    on: str | None = None
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

    @model_validator(mode="after")
    def _of_one_data_set(self) -> Self:
        if self.on is not None and self.images == "all":
            msg = 'images: all adds test images of the studied data, but "on" names other data to learn from: drop one'
            raise ValueError(msg)
        return self

    @property
    def looks_at_tested(self) -> bool:
        """Whether it asks for the images of test cases."""
        return self.images == "all"

    def run(self, lab: Lab) -> Network:
        """Train one stage called "pretext", move the encoder, train "finetune", return the network.

        Raises:
            ConfigError: `on` names no auxiliary data set of the study.
        """
        given = _of_others(lab, self.on) if self.on else _own(lab)
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


def _own(lab: Lab) -> dict[str, Cohort]:
    """Return all training images, labelled or not, and those of test cases where asked for, and validation's."""
    train = lab.cohorts["train"]
    more = [lab.cohorts[role].cases for role in ("unlabelled", "target", TESTED) if role in lab.cohorts]
    known = {case.id: case for cases in (train.cases, *more) for case in cases}
    images = replace(train, cases=tuple(known.values()))
    return {IMAGES: images.without_targets(), f"val:{IMAGES}": lab.cohorts["val"].without_targets()}


def _of_others(lab: Lab, on: str) -> dict[str, Cohort]:
    """Return the images of an auxiliary data set."""
    require_known(lab, (on,), who="self_supervised")
    return {f"{part}{IMAGES}": lab.cohorts[f"{part}{on}"].without_targets() for part in ("", "val:")}
