"""Patient pairs: two images of one patient belong together, images of other patients do not.

Idea      Another image of the same patient, the next slice, another modality, another visit, differs in more ways
          than any augmentation draws, and still shows the same person: a better positive pair than two copies.
Paper     Azizi, Mustafa, Ryan, Beaver, Freyberg, Deaton, Loh, Karthikesalingam, Kornblith, Chen, Natarajan, Norouzi.
          Big self-supervised models advance medical image classification (MICLe). ICCV 2021.  arXiv:2101.05224
Formula   z_i = normalised g(f(image i)),  z_p(i) that of another image of the same patient, each augmented by itself,
          L = mean_i -log( exp(z_i . z_p(i) / T) / sum_{k of other patients or p(i)} exp(z_i . z_k / T) )
Streams   images: images, no target.   partner: another image of each one's patient, no target.
Defaults  temperature = 0.1 (ours).  hidden = 0, the width of the features (ours).  output = 128 (ours).
          domain = any (paper: any image of the patient).  near = none (ours).  within = 1 (ours).  match = none (ours).
Differs   1. Which image of the patient is a partner can be narrowed: to a neighbouring slice (near: slice), to another
          modality or scanner (domain: other), to the same position (match).
          2. An image without a partner is an error that names it; the paper then makes two views of the one.
          3. Further images of a patient in a batch are neither positives nor negatives.
          4. The paper begins from a network trained by SimCLR on natural images and then on single medical ones: say so
          with the recipe's source.
Checked   tests/reference/test_patient_pairs.py: equals a loop over pairs; which cases may be partners, by hand;
          a case alone is refused by name; trained on patients whose two domains differ the pairs come together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.stream_spec import Another
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.contrastive import found, nt_xent
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, ViewsCriterion, patient_codes, require_two_patients, shown

__all__ = ["PatientPairs"]

PARTNER = "partner"


class PatientPairs(TwoViews, Method):
    """Minimise the contrastive loss of two images of each patient.

    Args:
        temperature: T of the softmax, > 0.
        domain: "other": the partner is of another domain (modality, scanner); "same": of the same; "any".
        near: attribute with a number, like a slice's, by which the two may differ; empty: any may.
        within: by how much at most, > 0.
        match: attributes in which the two agree.
    """

    name: ClassVar[str] = "patient_pairs"
    paper: ClassVar[Reference] = Reference(
        title="Big Self-Supervised Models Advance Medical Image Classification",
        authors=(
            "Azizi",
            "Mustafa",
            "Ryan",
            "Beaver",
            "Freyberg",
            "Deaton",
            "Loh",
            "Karthikesalingam",
            "Kornblith",
            "Chen",
            "Natarajan",
            "Norouzi",
        ),
        year=2021,
        venue="ICCV",
        arxiv="2101.05224",
    )

    temperature: float = Field(default=0.1, gt=0)
    domain: Literal["any", "other", "same"] = "any"
    near: str = ""
    within: float = Field(default=1.0, gt=0)
    match: tuple[str, ...] = ()

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the images, and another image of each one's patient."""
        how = Another(self.domain, self.near, self.within)
        partner = StreamSpec(IMAGES, labelled=False, pixels=True, like=IMAGES, match=self.match, another=how)
        return {IMAGES: StreamSpec(IMAGES, labelled=False, pixels=True), PARTNER: partner}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns the projector."""
        return _PatientPairsCriterion(self, nets["net"].shape.channels[-1])


class _PatientPairsCriterion(ViewsCriterion):
    def __init__(self, spec: PatientPairs, width: int) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.projector = projector(width, spec.hidden or width, spec.output)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: how often the partner is the nearest of all images, and what chance gives."""
        a, b = self.whole(*(self.projector(nets["net"](shown(batch[name])).pooled) for name in (IMAGES, PARTNER)))
        (whose,) = self.whole(patient_codes(batch[IMAGES], a.device))
        if self.training and at.step == 0:
            require_two_patients(whose)
        return Loss(nt_xent(a, b, self.temperature, whose[:, None] == whose), found(a, b))

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images and their partners."""
        return {"image": shown(batch[IMAGES]), "partner": shown(batch[PARTNER])}
