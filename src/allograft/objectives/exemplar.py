"""Exemplar: an altered image is nearer to its original than to another image.

Idea      What makes an image this image must outlast rotation, zoom and contrast; another patient's lies farther away.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829
Formula   z = sigmoid(h(f(x))),  L = mean max(0, mean (z_a - z_p)^2 - mean (z_a - z_n)^2 + margin),
          a and p two looks at an image, n one at another
Streams   images: two views of each image; no target.
Defaults  output = 1024 (paper).  margin = 1 (paper).
Differs   1. Both a and p are altered, each by draws of its own; in the paper p and the other image are originals.
          2. The other image is the next in the batch, which the stream has shuffled; where groups are known, the next
          of another patient. In a step of one patient alone it is the next, as in the paper, which asks for no patient;
          "other_patient" in the log is the share of images that met another patient's.
          3. Alterations are the stage's augmentation; the paper's are flips, rotations, brightness, contrast, zoom.
          4. Features are averaged over positions; the released code flattens them.
Checked   tests/reference/test_exemplar.py: the worked triplet value of the reference; equal codes cost the margin; a
          negative far enough costs nothing; the loss equals a loop by numpy in 2-D and 3-D; patients are no negatives
          of themselves; codes of different images part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, images
from allograft.objectives.two_views import ViewsCriterion, looks

__all__ = ["Exemplar", "others", "triplet"]


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Return the mean over rows of max(0, mean (a - p)^2 - mean (a - n)^2 + margin) for codes (B, D)."""
    near, far = ((anchor - other).square().mean(1) for other in (positive, negative))
    return (near - far + margin).clamp_min(0).mean()


def others(groups: Sequence[str], count: int) -> list[int]:
    """Return for each of `count` images the next in the batch of another group; the next where there is none.

    >>> others(("p", "p", "q"), 3), others((), 3), others(("p", "p"), 2)
    ([2, 2, 0], [1, 2, 0], [1, 0])
    """
    after = [[j % count for j in range(i + 1, i + count)] for i in range(count)]
    if not groups:
        return [following[0] for following in after]
    return [next((j for j in after[i] if groups[j] != groups[i]), after[i][0]) for i in range(count)]


class Exemplar(Method):
    """Minimise the triplet loss of two looks at an image and one at another.

    Args:
        output: numbers of a code.
        margin: by how much farther the other image is to be.
    """

    name: ClassVar[str] = "exemplar"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    output: int = Field(default=1024, ge=1)
    margin: float = Field(default=1.0, gt=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return one stream, "images": each image and a further copy of it."""
        return images(views=1)

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return no head: the code's layer is the criterion's."""
        return {}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Triplets(self, nets["net"].shape.channels[-1])


class _Triplets(ViewsCriterion):
    def __init__(self, spec: Exemplar, width: int) -> None:
        super().__init__()
        self.margin = spec.margin
        self.code = nn.Sequential(nn.Linear(width, spec.output), nn.Sigmoid())

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: how often the own copy is nearer than the other image, chance, other patients."""
        given = batch[IMAGES]
        anchor, positive = (self.code(nets["net"](look).pooled).float() for look in looks(given))
        chosen = others(given.groups, len(positive))
        near, far = ((anchor - other).square().mean(1) for other in (positive, positive[chosen]))
        groups = given.groups or range(len(chosen))
        apart = torch.tensor([groups[i] != groups[j] for i, j in enumerate(chosen)]).float().mean()
        right = (near < far).float().mean().detach()
        parts = {"accuracy": right, "chance": torch.tensor(0.5), "other_patient": apart}
        return Loss(triplet(anchor, positive, positive[chosen], self.margin), parts)
