"""Noisy Student: a teacher labels without noise, an equal or larger student learns with noise, repeat.

Idea      A student that must give the teacher's answers although its images and its own units are disturbed learns more
          than the teacher knew; then it labels the pool anew.
Paper     Xie, Luong, Hovy, Le. Self-training with Noisy Student improves ImageNet classification. CVPR 2020.
          arXiv:1911.04252
Formula   f_0 <- argmin L on labelled cases;  for r = 1..R: q_i = p_{r-1}(x_i), kept where max_c q_ic >=
          min_confidence, classes made equal by repeating;  f_r <- argmin of the mean, over a joint batch, of the
          cross-entropy to y on labelled and to q (soft) or argmax q (hard) on pseudo-labelled cases, under noise
Streams   teacher: the recipe's objective's. Students: train: images and targets; pseudo: images and the teacher's
          answers; a step has as many cases as a supervised one, `ratio` pseudo-labelled for each labelled.
Defaults  rounds = 3 (ours).  min_confidence = 0.3 (paper).  dropout = 0.5 (paper).  drop_path = 0.2 (paper: survival
          0.8 of the last layer).  augment = strong (ours: RandAugment, flips and cutout; the paper's is RandAugment).
          ratio = 1 (paper, for its smallest network; 3 for larger ones).  soft = true (paper).  balance = true (paper).
          top = 0 (ours): no limit; the paper's is 130,000 of a class.  student = none (ours): the recipe's network.
          joint_norm = true (ours).  Teacher and students have equal shares of the recipe's steps (ours).
Differs   1. The budget of a recipe holds all rounds, and a step the budget's batch.
          2. A student with the teacher's encoder starts as the recipe starts, which may be from pretrained weights;
          one with another encoder starts from scratch, like all of the paper's.
          3. Repeating is deterministic: cases of each class come in turns, so that a class of m images has each of
          them repeated equally often, up to one; the paper draws the last copy.
          4. Segmentation: elements below min_confidence are not taught, soft weighs the others by their probability,
          and classes are not balanced (every image holds several).
Checked   tests/reference/test_noisy_student.py: choice, copies and soft loss worked by hand; a true teacher gives
          supervised training on all cases; noise is in the student only; a constant teacher is told.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method, Started
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.data.transforms.augment import Augment
from allograft.nets.network import Network, parameter_count
from allograft.nets.spec import NetSpec
from allograft.objectives.mixed import Mixed
from allograft.objectives.supervised import Supervised
from allograft.procedures.self_training import Asking, pool_of, taught_by
from allograft.starts.scratch import Scratch

__all__ = ["NoisyStudent"]


class NoisyStudent(Method):
    """Train a teacher, then noised students on true and pseudo-labels together; return the last.

    Binary and multi-class classification, and segmentation; the recipe's objective must be supervised.

    Args:
        rounds: R, students one after another, >= 1.
        student: the students' network, equal or larger; None for the recipe's.
        dropout: of the students before the head, in [0, 1).
        drop_path: largest stochastic-depth rate of the students, in [0, 1); 0 where the encoder has no residual
            branches.
        augment: what the students' images go through.
        min_confidence: least probability of an answer that is taught, in [0, 1].
        top: at most so many images of a class, the surest; 0 for all.
        soft: probabilities instead of classes as targets; of masks, elements weigh their probability instead of 1.
        balance: pseudo-labelled cases of every class equally often.
        ratio: pseudo-labelled cases for each labelled one in a step, > 0.
        joint_norm: pass both through the network in one batch, so that norm layers see both at once.
    """

    name: ClassVar[str] = "noisy_student"
    paper: ClassVar[Reference] = Reference(
        title="Self-training with Noisy Student improves ImageNet classification",
        authors=("Xie", "Luong", "Hovy", "Le"),
        year=2020,
        venue="CVPR",
        arxiv="1911.04252",
    )

    rounds: int = Field(default=3, ge=1)
    student: NetSpec | None = None
    dropout: float = Field(default=0.5, ge=0, lt=1)
    drop_path: float = Field(default=0.2, ge=0, lt=1)
    augment: Augment = Augment(preset="strong")
    min_confidence: float = Field(default=0.3, ge=0, le=1)
    top: int = Field(default=0, ge=0)
    soft: bool = True
    balance: bool = True
    ratio: float = Field(default=1.0, gt=0)
    joint_norm: bool = True

    def run(self, lab: Lab) -> Network:
        """Train "teacher", then "student-1" to "student-R"; return the last.

        Raises:
            ConfigError: there are no unlabelled cases, the task has no classes, the recipe's objective is not
                supervised, or the student is smaller than the teacher or has not its dimensions.
            DataError: nothing is sure enough to be taught.
        """
        pool_of(lab, self.name)
        begun, student, objective = lab.start(), self._begin(lab), self._objective(lab)
        if parameter_count(student.net) < parameter_count(begun.net):
            msg = f"{self.name}: the student has fewer parameters than its teacher. Name an equal or larger network."
            raise ConfigError(msg)
        share = 1 / (self.rounds + 1)
        net = lab.train("teacher", begun, share=share)
        for number in range(1, self.rounds + 1):
            asking = Asking(lab, net, number, self.name)
            pseudo = taught_by(asking, floor=self.min_confidence, top=self.top, soft=self.soft)
            net = lab.train(
                f"student-{number}",
                student if number == 1 else self._begin(lab),
                objective=objective,
                cohorts={"pseudo": pseudo},
                share=share,
                augment=self.augment,
            )
        return net

    def _begin(self, lab: Lab) -> Started:
        """Return a student: its noise is part of its network."""
        spec = self.student or lab.net
        if spec.dims != lab.net.dims:
            msg = f"{self.name}: the student has {spec.dims} dimensions, the recipe's network {lab.net.dims}."
            raise ConfigError(msg)
        noisy = spec.model_copy(update={"dropout": self.dropout, "drop_path": self.drop_path})
        return lab.start(net=noisy, start=None if spec.takes_weights_of(lab.net) else Scratch())

    def _objective(self, lab: Lab) -> Mixed:
        if not isinstance(lab.objective, Supervised):
            msg = (
                f"{self.name}: students learn from labels, true ones and the teacher's; the objective \""
                f'{lab.objective.name}" is something else. Use supervised.'
            )
            raise ConfigError(msg)
        balance = self.balance and lab.task.kind != "segmentation"
        return Mixed(
            ratio=self.ratio,
            balance=balance,
            joint_norm=self.joint_norm,
            label_smoothing=lab.objective.label_smoothing,
            class_weights=lab.objective.class_weights,
            segmentation=lab.objective.segmentation,
        )
