"""CPC: from the patches above, tell which patch lies below.

Idea      What continues downwards from what has been seen is anatomy; patches of other images and places do not.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (first: van den Oord, Li, Vinyals, 2018, arXiv:1807.03748)
Formula   a grid of patches, z = g(f(patch));  c = GRU over the codes of the pyramid above a column's tip;
          L = -mean log( exp(z . W_k c / T) / sum_j exp(z_j . W_k c / T) ), z the k-th patch below the tip, z_j the
          patches of this row of all images and columns of the step
Streams   images: images only, no target.
Defaults  per_side = 4 (paper).  code = 128 (ours; paper 1024).  context = 256 (paper).  temperature = 1 (ours).
          loss = info_nce (paper); "binary" is the released code's.  flips = true (paper's released code, in 3-D).
Differs   1. A patch is 7/8 of its cell along each axis, moved by chance: the released code's 3-D setting, also in 2-D,
          where it takes larger patches that overlap and leaves a row out. Patches that share elements tell their
          neighbour by these. Nothing is padded back to the cell.
          2. Every column whose pyramid lies inside the grid is predicted; the released code also takes those at the
          border, and fills the pyramid with mirrored patches (2-D: zeros).
          3. Features of a patch are averaged over positions; the released code flattens them.
          4. Cropping the whole image is left to the augmentation of the stage.
          5. "binary" is sigmoid(mean over rows and numbers of the product) and binary cross-entropy with one negative,
          the same rows of another image or column of the step, as in the released code.
Checked   tests/reference/test_cpc.py: counts of context and predicted patches are the paper's for 2 to 7 a side; equal
          codes give log N, and the worked value of the reference comes out; both losses equal loops by numpy in 2-D and
          3-D; what lies below is learnt. tests/reference/test_pretext_leaks.py: patches share no element; after
          training, noise around a constant gives chance, and patches that overlap do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.contrastive import info_nce
from allograft.functional.exact import in_full_precision
from allograft.nets.network import Network
from allograft.objectives.patch_grid import PatchCriterion, cells
from allograft.objectives.pretext import ImagesAlone, pixels

__all__ = ["CPC", "Column", "columns"]


class Column(NamedTuple):
    """One column of the grid: the patches down to its tip and those below, as their numbers in raster order."""

    context: tuple[int, ...]
    below: tuple[int, ...]


def columns(per_side: int, dims: int) -> tuple[Column, ...]:
    """Return the columns whose pyramids lie inside a grid of `per_side` patches along each axis.

    A pyramid has per_side // 2 rows; the row r above the tip is 2 r + 1 patches wide along every other axis.

    >>> [(len(c[0].context), len(c[0].below)) for c in (columns(n, 3) for n in (2, 3, 4, 5, 7))]
    [(1, 1), (1, 2), (10, 2), (10, 3), (35, 4)]
    """
    rows, number = per_side // 2, {p: i for i, p in enumerate(itertools.product(range(per_side), repeat=dims))}
    found = []
    for tip in itertools.product(range(rows - 1, per_side - rows + 1), repeat=dims - 1):
        context = []
        for row in range(rows):
            reach = rows - 1 - row
            wide = itertools.product(*(range(t - reach, t + reach + 1) for t in tip))
            context += [number[(row, *place)] for place in wide]
        found.append(Column(tuple(context), tuple(number[(row, *tip)] for row in range(rows, per_side))))
    return tuple(found)


class CPC(ImagesAlone, Method):
    """Minimise the contrastive loss of the patches below a pyramid of patches.

    Args:
        per_side: patches along each axis, 2 to 7.
        code: numbers of a patch's code.
        context: width of the recurrent layer.
        temperature: T of the softmax, > 0.
        loss: "info_nce", or "binary" with one negative.
        flips: mirror each patch along the first axis by chance, so that borders do not continue each other.
    """

    name: ClassVar[str] = "cpc"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    per_side: int = Field(default=4, ge=2, le=7)
    code: int = Field(default=128, ge=1)
    context: int = Field(default=256, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    loss: Literal["info_nce", "binary"] = "info_nce"
    flips: bool = True

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Predictive(self, nets["net"])


class _Predictive(PatchCriterion):
    def __init__(self, spec: CPC, net: Network) -> None:
        super().__init__()
        every = columns(spec.per_side, net.shape.dims)
        self.spec = spec
        self.register_buffer("above", torch.tensor([c.context for c in every]), persistent=False)
        self.register_buffer("below", torch.tensor([c.below for c in every]), persistent=False)
        self.coder = nn.Linear(net.shape.channels[-1], spec.code)
        self.recurrent = nn.GRU(spec.code, spec.context, batch_first=True)
        self.maps = nn.ModuleList(nn.Linear(spec.context, spec.code) for _ in every[0].below)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: the share of patches that are found among those of their row, and chance."""
        codes = self.coder(self.embed(nets["net"], self.patches(pixels(batch))))
        above, below = (codes[:, self.get_buffer(name)].flatten(0, 1) for name in ("above", "below"))
        seen = self.recurrent(above)[1][0]  # (N, context), N = images * columns
        told = torch.stack([each(seen) for each in self.maps], dim=1)  # (N, rows, code), like `below`
        return Loss(self._loss(told, below), {"accuracy": _found(told, below), "chance": torch.tensor(1 / len(seen))})

    def patches(self, image: Tensor) -> Tensor:
        """Return patches (B, K, C, *p) of images (B, C, *S) in raster order, seven eighths of their cells."""
        side = min(image.shape[2:]) // self.spec.per_side
        found = cells(image, self.spec.per_side, side - 7 * side // 8)
        if not self.spec.flips:
            return found
        mirrored = torch.rand(found.shape[:2]) < 0.5
        return torch.where(
            mirrored.reshape(*mirrored.shape, *[1] * (found.ndim - 2)).to(found.device), found.flip(3), found
        )

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, the lowest patch that is seen of the middle column, and the one below, which is to be told."""
        image, column = pixels(batch), len(self.get_buffer("above")) // 2
        patches = self.patches(image)
        tip, next_ = (self.get_buffer(name)[column, at] for name, at in (("above", -1), ("below", 0)))
        return {"image": image, "last seen": patches[:, tip], "what follows": patches[:, next_]}

    @in_full_precision
    def _loss(self, told: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of predictions and codes (N, rows, code)."""
        if self.spec.loss == "info_nce":
            rows = zip(told.unbind(1), truth.unbind(1), strict=True)
            return torch.stack([info_nce(a, b, self.spec.temperature) for a, b in rows]).mean()
        count = len(told)
        other = (torch.arange(count) + torch.randint(1, count, (count,))) % count  # any but its own
        logits = torch.cat([(told * each).mean((1, 2)) for each in (truth, truth[other.to(truth.device)])])
        return F.binary_cross_entropy_with_logits(logits, (torch.arange(2 * count) < count).to(logits))


@torch.no_grad()
@in_full_precision
def _found(told: Tensor, truth: Tensor) -> Tensor:
    """Return the share of predictions (N, rows, code) whose own code has the largest product of all in its row."""
    near = torch.einsum("nrc,mrc->nrm", told, truth).argmax(2)
    return (near == torch.arange(len(told), device=near.device)[:, None]).float().mean()
