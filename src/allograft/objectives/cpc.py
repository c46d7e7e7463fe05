"""CPC: from the patches above, tell which patch lies below.

Idea      What continues downwards from what has been seen is anatomy; patches of other images and places do not.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (first: van den Oord, Li, Vinyals, 2018, arXiv:1807.03748)
Formula   a grid of overlapping patches, z = g(f(patch));  c = GRU over the codes of the pyramid above a column's tip;
          L = -mean log( exp(z . W_k c / T) / sum_j exp(z_j . W_k c / T) ), z the k-th patch below the tip, z_j the
          patches of this row of all images and columns of the step
Streams   images: images only, no target.
Defaults  per_side = 4 (paper).  code = 128 (ours; paper 1024).  context = 256 (paper).  temperature = 1 (ours).
          loss = info_nce (paper); "binary" is the released code's.
Differs   1. Patches are half as wide again as a cell and overlap so that they cover the image. The paper's cropping and
          padding of single patches is left to the augmentation of the stage.
          2. Every column whose pyramid lies inside the grid is predicted, in each step; the released code draws one.
          3. "binary" is sigmoid(mean of the product) and binary cross-entropy with one negative, the same row of the
          next image.
Checked   tests/reference/test_cpc.py: counts of context and predicted patches are the paper's for 2 to 7 a side; equal
          codes give log N; equals a loop; no patch below the tip is in the context; the gradient reaches the encoder.
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
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.contrastive import info_nce
from allograft.nets.network import Network
from allograft.objectives.patch_grid import SMALLEST, PatchCriterion
from allograft.objectives.pretext import IMAGES, ImagesAlone

__all__ = ["CPC", "Column", "columns", "overlapping"]


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


def overlapping(image: Tensor, per_side: int) -> Tensor:
    """Return patches (B, K, C, *p) of images (B, C, *S) in raster order, half as wide again as a cell, evenly spread.

    Raises:
        ConfigError: patches would be too small to hold a shape.
    """
    size = image.shape[2:]
    patch = tuple(min(n, 3 * n // (2 * per_side)) for n in size)
    if min(patch) < SMALLEST:
        msg = f"cpc: images of {tuple(size)} in {per_side} patches a side give patches of {patch}; take fewer a side."
        raise ConfigError(msg)
    begins = [[round(i * (n - p) / (per_side - 1)) for i in range(per_side)] for n, p in zip(size, patch, strict=True)]
    cut = [
        image[(slice(None), slice(None), *(slice(b, b + p) for b, p in zip(place, patch, strict=True)))]
        for place in itertools.product(*begins)
    ]
    return torch.stack(cut, dim=1)


class CPC(ImagesAlone, Method):
    """Minimise the contrastive loss of the patches below a pyramid of patches.

    Args:
        per_side: patches along each axis, 2 to 7.
        code: numbers of a patch's code.
        context: width of the recurrent layer.
        temperature: T of the softmax, > 0.
        loss: "info_nce", or "binary" with one negative.
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

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Predictive(self, nets["net"])


class _Predictive(PatchCriterion):
    def __init__(self, spec: CPC, net: Network) -> None:
        super().__init__()
        self.spec, self.columns = spec, columns(spec.per_side, net.shape.dims)
        self.coder = nn.Linear(net.shape.channels[-1], spec.code)
        self.recurrent = nn.GRU(spec.code, spec.context, batch_first=True)
        self.maps = nn.ModuleList(nn.Linear(spec.context, spec.code) for _ in self.columns[0].below)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: the share of patches that are found among those of their row, and chance."""
        image = batch[IMAGES].image
        assert isinstance(image, Tensor), "pixels were asked for"
        codes = self.coder(self.embed(nets["net"], overlapping(image, self.spec.per_side)).float())
        seen = torch.cat([self.recurrent(codes[:, list(c.context)])[1][0] for c in self.columns])  # (N, context)
        losses, right = [], []
        for row, each in enumerate(self.maps):
            told = each(seen)
            truth = torch.cat([codes[:, c.below[row]] for c in self.columns])  # (N, code), in the same order
            losses.append(self._loss(told, truth, len(image)))
            right.append(((told @ truth.T).argmax(1) == torch.arange(len(told), device=told.device)).float().mean())
        parts = {"accuracy": torch.stack(right).mean().detach(), "chance": torch.tensor(1 / len(seen))}
        return Loss(torch.stack(losses).mean(), parts)

    def _loss(self, told: Tensor, truth: Tensor, images: int) -> Tensor:
        if self.spec.loss == "info_nce":
            return info_nce(told, truth, self.spec.temperature)
        other = (
            truth.reshape(-1, images, truth.shape[1]).roll(1, 1).flatten(0, 1)
        )  # the next image's patch of the same place
        logits = torch.cat([(told * truth).mean(1), (told * other).mean(1)])
        labels = torch.cat([logits.new_ones(len(told)), logits.new_zeros(len(told))])
        return F.binary_cross_entropy_with_logits(logits, labels)
