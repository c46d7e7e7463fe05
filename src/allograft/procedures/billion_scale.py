"""Billion-scale recipe: a student learns a balanced choice of pseudo-labels first, true labels last.

Idea      A teacher ranks a pool of images for each class. The student first trains on the surest images of every
          class, equally many of each, and then on the true labels, which so have the last word.
Paper     Yalniz, Jegou, Chen, Paluri, Mahajan. Billion-scale semi-supervised learning for image classification.
          2019.  arXiv:1905.00546
Formula   1. f_T <- argmin L on labelled cases;  2. S_c = the K images of largest p_T(c | x) among those with c in
          their P most probable classes;  3. f <- argmin over all c and x in S_c of -ln p_f(c | x), begun anew;
          4. f <- argmin L on labelled cases, begun from 3.
Streams   stages 1 and 4: the recipe's objective's. Stage 2: no step. Stage 3: the recipe's objective's, with the
          pseudo-labelled cases as "train".
Defaults  top = 0 (ours): K is half of what every class would get of an even pool, N P / (2 L).  per_image = 1 (ours).
          min_confidence = 0 (ours).  teacher = 0.4 (ours) and finetune = 0.3 (ours) of the recipe's steps.
Differs   1. The budget of a recipe holds all stages, so that it is compared fairly with one that trains on the labels
          alone; the paper trains long on top.
          2. Teacher and student are the recipe's network and both start as the recipe starts; the paper's student is
          smaller and starts from scratch.
          3. An image under several classes is one image with all of them in shares and the weight of as many, which
          is the same loss; a class with fewer than K images counts for as much as the others.
          4. Segmentation: a class ranks cases by the mean probability of the elements proposed to be of it; the
          chosen cases' masks are taught whole, elements less sure than min_confidence left out.
Checked   tests/reference/test_billion_scale.py: lists of a table worked by hand for P = 1 and 2, ties by index;
          stages, shares and cases with a fake Lab; a true teacher gives the true labels; a constant one is told.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.continuation import go_on
from allograft.procedures.self_training import Asking, pool_of, surest

__all__ = ["BillionScale"]


class BillionScale(Method):
    """Train a teacher, pre-train a student on its surest labels, fine-tune it on the true ones.

    Binary and multi-class classification, and segmentation. The recipe's start, source and tuning hold for teacher and
    student; the student's second stage goes on from its first.

    Args:
        top: K, images of a class, >= 1; 0 for half of an even share.
        per_image: P, classes under which one image may be listed, >= 1; 1 in a segmentation.
        min_confidence: in a segmentation, elements of a smaller probability are not taught, in [0, 1].
        teacher: share of the recipe's steps for the teacher, in (0, 1).
        finetune: share of the recipe's steps for the student on true labels, in (0, 1); what the two leave is for
            pseudo-labels.
    """

    name: ClassVar[str] = "billion_scale"
    paper: ClassVar[Reference] = Reference(
        title="Billion-scale semi-supervised learning for image classification",
        authors=("Yalniz", "Jegou", "Chen", "Paluri", "Mahajan"),
        year=2019,
        arxiv="1905.00546",
    )

    top: int = Field(default=0, ge=0)
    per_image: int = Field(default=1, ge=1)
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    teacher: float = Field(default=0.4, gt=0, lt=1)
    finetune: float = Field(default=0.3, gt=0, lt=1)

    @model_validator(mode="after")
    def _leave_steps(self) -> Self:
        if self.teacher + self.finetune >= 1 - 1e-9:
            used = self.teacher + self.finetune
            msg = f"teacher and finetune use {used:g} of the steps, which leaves none for pseudo-labels; lower them"
            raise ValueError(msg)
        return self

    def run(self, lab: Lab) -> Network:
        """Train stages "teacher", "student" and "finetune"; return the network.

        Raises:
            ConfigError: there are no unlabelled cases, or the task has no classes to be ranked by.
            DataError: nothing is sure enough to be taught.
        """
        pool_of(lab, self.name)
        net = lab.train("teacher", lab.start(), share=self.teacher)
        asking = Asking(lab, net, 1, self.name)
        chosen = surest(asking, top=self.top, per_image=self.per_image, floor=self.min_confidence)
        rest = 1 - self.teacher - self.finetune
        student = lab.train("student", lab.start(), cohorts={"train": chosen}, share=rest)
        return lab.train("finetune", go_on(lab, student, "student"), share=self.finetune)
