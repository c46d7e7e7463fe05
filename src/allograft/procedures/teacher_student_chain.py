"""Teacher-student chain: each student becomes the next teacher, as long as validation says that it is better.

Idea      One step from a weak teacher to a student helps a little. A student that is better than its teacher labels
          the pool better than the teacher did, and the next student learns from that.
Paper     Shaw, Pajak, Lisowska, Tsaftaris, O'Neil. Teacher-student chain for efficient semi-supervised histology
          image classification. 2020.  arXiv:2003.08797
Formula   f_0 <- argmin L on labelled cases;  for r = 1..R: S_c = the K images of largest p_{r-1}(c | x) among those
          with c in their P most probable classes;  f_r <- argmin over S of -ln p(c | x), then argmin L on labelled
          cases;  stop where the validation score of f_r is not above that of f_{r-1}, and return f_{r-1}
Streams   on labelled cases the recipe's objective's; on S the same, with the pseudo-labelled cases as "train".
Defaults  rounds = 3 (ours).  top = 0 (ours): K is half of what every class would get of an even pool, N P / (2 L).
          per_image = 1 (ours).  min_confidence = 0 (ours).  warm = false (paper).  teacher = 0.4 (ours) of the
          recipe's steps, the rest in equal parts for the rounds.  finetune = 0.5 (ours) of a round's steps.
Differs   1. The budget of a recipe holds all rounds, so that it is compared fairly with one that trains on the
          labels alone; a chain that stops early leaves steps unused, and the report shows it.
          2. Students start as the recipe starts, which may be from pretrained weights.
          3. An image under several classes is one image with all of them in shares and the weight of as many.
          4. Segmentation: as in billion_scale, a class ranks cases by the mean probability of its elements.
Checked   tests/reference/test_teacher_student_chain.py: stages, shares and cases with a fake Lab; one round without a
          stop is billion_scale; the chain stops at the first round that is not better and returns the one before.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.continuation import go_on
from allograft.procedures.self_training import Asking, pool_of, surest

__all__ = ["TeacherStudentChain"]


class TeacherStudentChain(Method):
    """Train a teacher, then students that learn from the one before and from the true labels.

    Binary and multi-class classification, and segmentation. The recipe's start, source and tuning hold for the teacher
    and every student; a student's second stage goes on from its first.

    Args:
        rounds: R, most links of the chain, >= 1.
        top: K, images of a class, >= 1; 0 for half of an even share.
        per_image: P, classes under which one image may be listed, >= 1; 1 in a segmentation.
        min_confidence: in a segmentation, elements of a smaller probability are not taught, in [0, 1].
        warm: students go on from their teacher instead of starting anew.
        teacher: share of the recipe's steps for the first teacher, in (0, 1).
        finetune: share of each round's steps for the true labels, in (0, 1).
    """

    name: ClassVar[str] = "teacher_student_chain"
    paper: ClassVar[Reference] = Reference(
        title="Teacher-Student chain for efficient semi-supervised histology image classification",
        authors=("Shaw", "Pajak", "Lisowska", "Tsaftaris", "O'Neil"),
        year=2020,
        arxiv="2003.08797",
    )

    rounds: int = Field(default=3, ge=1)
    top: int = Field(default=0, ge=0)
    per_image: int = Field(default=1, ge=1)
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    warm: bool = False
    teacher: float = Field(default=0.4, gt=0, lt=1)
    finetune: float = Field(default=0.5, gt=0, lt=1)

    def run(self, lab: Lab) -> Network:
        """Train "teacher", then "student-R" and "finetune-R" of each round; return the best by validation.

        Raises:
            ConfigError: there are no unlabelled cases, or the task has no classes to be ranked by.
            DataError: nothing is sure enough to be taught.
        """
        pool_of(lab, self.name)
        stage = "teacher"
        teacher = lab.train(stage, lab.start(), share=self.teacher)
        best = None
        for number in range(1, self.rounds + 1):
            student = self._student(lab, Asking(lab, teacher, number, self.name), stage)
            before, after = lab.score(teacher) if best is None else best, lab.score(student)
            lab.report(f"finetune-{number}", {"round": number, "validation": after, "validation_teacher": before})
            if after <= before:
                break
            teacher, stage, best = student, f"finetune-{number}", after
        return teacher

    def _student(self, lab: Lab, asking: Asking, taught: str) -> Network:
        """Return a student of `asking.teacher`, which the stage `taught` trained."""
        number, share = asking.round, (1 - self.teacher) / self.rounds
        chosen = surest(asking, top=self.top, per_image=self.per_image, floor=self.min_confidence)
        begun = go_on(lab, asking.teacher, taught) if self.warm else lab.start()
        first = f"student-{number}"
        net = lab.train(first, begun, cohorts={"train": chosen}, share=share * (1 - self.finetune))
        return lab.train(f"finetune-{number}", go_on(lab, net, first), share=share * self.finetune)
