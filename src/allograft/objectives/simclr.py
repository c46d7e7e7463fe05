"""SimCLR: two views of an image belong together, views of other images do not.

Idea      An encoder that knows two altered copies of an image as the same among many others has learnt what stays
          under the alterations. Images of one patient need not be called different.
Paper     Chen, Kornblith, Norouzi, Hinton. A simple framework for contrastive learning of visual representations.
          ICML 2020.  arXiv:2002.05709
Formula   z = normalised g(f(view)),  p(i) the other view of view i's image,
          L = mean_i -log( exp(z_i . z_p(i) / T) / sum_{k != i} exp(z_i . z_k / T) )
Streams   images: two looks at each image; no target.
Defaults  temperature = 0.1 (paper; its released code has 0.5 for the 32 x 32 images of CIFAR-10).  hidden = 0, the
          width of the features (paper).  output = 128 (paper).  patients = apart (ours).
Differs   1. With patients = apart images of one patient are no negatives of each other; "negatives" is the paper's.
          2. Batches are the recipe's, hundreds of times smaller than the paper's.
          3. The projector normalises its hidden layer; the released code its output too.
          4. With several processes the loss is the whole batch's, but batch norms see the images of their own
          process; the paper's see all.
Checked   tests/reference/test_simclr.py: equals a loop over pairs and lightly's loss; identical projections give
          log(2B - 1); patients apart leave their pairs out; the gradient reaches the encoder and the loss falls.
          tests/reference/test_looks_of_all_processes.py: two processes learn what one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.contrastive import found, nt_xent
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import (
    TELL_APART,
    TwoViews,
    ViewsCriterion,
    looks,
    patient_codes,
    require_two_patients,
)

__all__ = ["SimCLR"]


class SimCLR(TwoViews, Method):
    """Minimise the contrastive loss of two views.

    Args:
        temperature: T of the softmax, > 0.
        patients: "apart": images of one patient are no negatives of each other; "negatives": all are.
    """

    name: ClassVar[str] = "simclr"
    paper: ClassVar[Reference] = Reference(
        title="A Simple Framework for Contrastive Learning of Visual Representations",
        authors=("Chen", "Kornblith", "Norouzi", "Hinton"),
        year=2020,
        venue="ICML",
        arxiv="2002.05709",
    )

    temperature: float = Field(default=0.1, gt=0)
    patients: Literal["apart", "negatives"] = "apart"

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _SimCLRCriterion(self, nets["net"].shape.channels[-1])


class _SimCLRCriterion(ViewsCriterion):
    def __init__(self, spec: SimCLR, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.projector = projector(width, spec.hidden or width, spec.output)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: the share of views whose partner is the nearest of all, and what chance gives."""
        given = batch[IMAGES]
        a, b = self.whole(*(self.projector(nets["net"](image).pooled) for image in looks(given)))
        barred = None
        if self.spec.patients == "apart" and given.groups:
            (whose,) = self.whole(patient_codes(given, a.device))
            barred = whose[:, None] == whose
            if self.training and at.step == 0:
                require_two_patients(whose, otherwise=TELL_APART)
        return Loss(nt_xent(a, b, self.spec.temperature, barred), found(a, b))
