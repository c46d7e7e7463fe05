"""Self-ensembling: on target images, answer as your own moving average does, in one frame of reference.

Idea      Labels teach the source. On the target the student sees a moved image and must answer what its own average
          answers on the image as it is, moved in the same way: what the two share does not hang on a scanner's looks.
Paper     Perone, Ballester, Barros, Cohen-Adad. Unsupervised domain adaptation for medical imaging segmentation with
          self-ensembling. NeuroImage 2019.  arXiv:1811.06042
Formula   L = L_task(source) + w(t) mean (p_student(T x) - T p_teacher(x))^2,  x a target image;  w(t) = weight *
          exp(-5 (1 - t / ramp)^2);  theta' <- a theta' + (1 - a) theta,  a = min(1 - 1 / (step + 1), d),  d = decay,
          later late_decay
Streams   source: images and targets, role "train".   target: images only, role "target"; targets are never read.
Defaults  weight = 20 (paper).  ramp = 2/7 (paper: 100 of 350 epochs).  decay = 0.99 (paper).  late_decay = 0.999
          (paper).  late = 1/7 (paper: epoch 50 of 350).  moves = affine, up to 10 degrees, 10 % and 5 % (ours).
          buffers = average (ours).  hand_on = teacher (ours).  labelled_batch = 0 (ours): half of the budget's batch,
          as unlabelled_batch = 0 (paper: as many target as source cases).  joint_norm = false (ours).
          label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none (ours; the paper's is Dice).
Differs   1. Optimiser and schedule are the recipe's (paper: Adam 6e-4 with a ramp-up, then cosine; GroupNorm;
          dropout 0.5).
          2. Images of a classification move too, and their probabilities, which have no place, stay.
          3. Answers are not cut at 0.9; the most probable class is taken.
Checked   tests/reference/test_self_ensembling.py: the term typed out with torch's own flip; without moves and dropout
          it is 0 for teacher = student, and for flips of a net that turns with its input too; the teacher gets no
          gradient; weight 0 is supervised training bit for bit; the student is pulled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.transforms.affine import Affine
from allograft.data.transforms.augment import Augment
from allograft.functional.consistency import shares, squared_distance
from allograft.functional.ema import ema_decay
from allograft.nets.network import Network
from allograft.objectives.taught import Taught, TaughtCriterion
from allograft.objectives.two_streams import Term, passes

__all__ = ["SelfEnsembling"]

PLACES = frozenset({"flip", "rotate90", "affine", "elastic", "crop"})
"""Transforms that change where things are and nothing else."""


class SelfEnsembling(Taught, Method):
    """Minimise the task's loss on the source and the distance to the moved answers of the teacher on the target.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        moves: transforms of places that the student's target images go through, after the study's augmentation.
        late_decay: `decay` from the share `late` of the training on, in [0, 1).
        late: share of the training, in [0, 1].
    """

    name: ClassVar[str] = "self_ensembling"
    paper: ClassVar[Reference] = Reference(
        title="Unsupervised domain adaptation for medical imaging segmentation with self-ensembling",
        authors=("Perone", "Ballester", "Barros", "Cohen-Adad"),
        year=2019,
        venue="NeuroImage",
        arxiv="1811.06042",
    )

    weight: float = Field(default=20.0, ge=0)
    ramp: float = Field(default=2 / 7, ge=0, le=1)
    late_decay: float = Field(default=0.999, ge=0, lt=1)
    late: float = Field(default=1 / 7, ge=0, le=1)
    hand_on: Literal["student", "teacher"] = "teacher"
    moves: Augment = Augment(transforms=(Affine(),))

    @model_validator(mode="after")
    def _moves_only(self) -> Self:
        if other := [step.kind for step in self.moves.steps if step.kind not in PLACES]:
            msg = f"moves: {other[0]} changes values, which answers do not follow; expected of {sorted(PLACES)}"
            raise ValueError(msg)
        return self

    def decay_at(self, at: Progress) -> float:
        """Return the share of itself that the teacher keeps after a step."""
        return ema_decay(at.step, self.decay if at.fraction < self.late else self.late_decay)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled source cases and, without targets, target cases."""
        source = StreamSpec("train", batch=self.labelled_batch, share=0.5)
        target = StreamSpec("target", batch=self.unlabelled_batch, share=0.5, labelled=False, pixels=True)
        return {"source": source, "target": target}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the teacher.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _SelfEnsembling(self, task, nets["net"])


class _SelfEnsembling(TaughtCriterion):
    """The distance between the student's answers to moved images and the teacher's moved answers."""

    def __init__(self, spec: SelfEnsembling, task: Task, net: Network) -> None:
        super().__init__(spec, task, net)
        self.moves = spec.moves

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the sum over both domains."""
        return super().forward(nets, {"train": batch["source"], "unlabelled": batch["target"]}, at, player)

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean squared difference of probabilities."""
        image = unlabelled.image
        assert isinstance(image, torch.Tensor), "the stream asks for images"
        rng = np.random.default_rng(int(torch.randint(2**31, ())))  # torch's state is the step's own
        draws = [self.moves.draw(rng, tuple(image.shape[1:])) for _ in range(len(image))]
        out, other = passes(net, [train.image, self.moves.apply_batch(image, draws)], joint=self.spec.joint_norm)
        (target,) = self.ask(net, image)
        if self.task.kind == "segmentation":
            target = self.moves.apply_batch(target, draws)
        apart = squared_distance(shares(self.logits(other), self.task.kind), target).mean()
        return Term(self.plain(out, train), apart, {})
