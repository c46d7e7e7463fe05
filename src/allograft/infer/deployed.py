"""Deployed: a predictor as one module of tensors, from prepared values to its answer, for other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from allograft.core.errors import NumericsError
from allograft.functional.probabilities import probabilities
from allograft.infer.ensemble import Member, Predictor
from allograft.infer.views import judged_by_views

__all__ = ["TOLERANCE", "Deployed", "Parity", "compare", "example", "require_parity"]

TOLERANCE = 1e-4
"""Largest difference of an output between PyTorch and another runtime."""


class Deployed(nn.Module):
    """All networks of a predictor with their normalisation, mirroring and temperatures, in float32.

    Of a classification the output is (B, L): the members' probabilities, averaged, as `Predictor.probabilities`.
    Of a segmentation it is (B, M * O, *p): the logits of member 0, then of member 1, and so on. They are to be
    blended over windows first; the class is then that of the largest sum of the members' softmax.

    Args:
        predictor: what is handed over.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.members = nn.ModuleList(_One(member) for member in predictor.members)
        self.dense = predictor.task.kind == "segmentation"
        self.eval()

    @property
    def output(self) -> str:
        """Name of the output: "logits" or "probabilities"."""
        return "logits" if self.dense else "probabilities"

    def forward(self, image: Tensor) -> Tensor:
        """Return what the class says, for prepared images (B, C, *S)."""
        found = [cast("Tensor", member(image)) for member in self.members]
        if self.dense:
            return found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return found[0] if len(found) == 1 else torch.stack(found).mean(0)


class _One(nn.Module):
    """One network behind its normalisation."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        bundle, dims = member.bundle, member.bundle.net.dims
        self.net, self.kind, self.head = member.net, bundle.task.kind, bundle.task.head
        self.temperature, self.views = bundle.temperature, bundle.views
        self.mirror = bundle.patches.mirror if bundle.patches is not None else ()
        self.mapped = bool(bundle.normalise.scale)
        for name, values in (("scale", bundle.normalise.scale), ("shift", bundle.normalise.shift)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(1, -1, *[1] * dims))

    def forward(self, image: Tensor) -> Tensor:
        if self.mapped:
            image = image * cast("Tensor", self.scale) + cast("Tensor", self.shift)
        if self.kind != "segmentation":
            ten = self.views == "ten_crop"
            logits = judged_by_views(self._logits, image, self.kind) if ten else self._logits(image)
            return probabilities(logits / self.temperature, self.kind).float()
        subsets: list[list[int]] = [[]]
        for axis in self.mirror:
            subsets += [[*subset, axis + 2] for subset in subsets]
        total = self._logits(image)
        for axes in subsets[1:]:
            total = total + self._logits(image.flip(axes)).flip(axes)
        return total / len(subsets) if len(subsets) > 1 else total

    def _logits(self, image: Tensor) -> Tensor:
        return cast("Tensor", self.net(image).logits[self.head])


class Parity(NamedTuple):
    """How another runtime's answers differ from PyTorch's, on seeded inputs.

    Attributes:
        difference: largest absolute difference of probabilities.
        agreement: share of answers (cases, or elements of windows) of the same class.
        output: largest absolute difference of the output, as a share of its largest value where that exceeds 1.
        answers: how many were compared.
    """

    difference: float
    agreement: float
    output: float
    answers: int

    def said(self, runtime: str) -> str:
        """Return the comparison in words."""
        return (
            f"{runtime} against PyTorch on seeded inputs: largest difference of a probability {self.difference:.1e}, "
            f"same class in {self.agreement:.4%} of {self.answers} answers."
        )


def example(predictor: Predictor, batch: int, seed: int) -> Tensor:
    """Return seeded inputs (batch, C, *S) of the size and the range that prepared values have."""
    made = torch.Generator().manual_seed(seed)
    shape = (batch, predictor.shape[0], *_size(predictor))
    unit = predictor.preprocess.space == "unit"
    return torch.rand(shape, generator=made) if unit else torch.randn(shape, generator=made)


def compare(predictor: Predictor, module: Deployed, other: Callable[[Tensor], Tensor]) -> Parity:
    """Compare another runtime with PyTorch on seeded inputs, one image and three at a time."""
    pairs = []
    for seed, batch in enumerate((1, 3)):
        x = example(predictor, batch, seed)
        with torch.inference_mode():
            pairs.append((module(x).float(), other(x).float()))
    own = torch.cat([a.flatten(2) if module.dense else a for a, _ in pairs])
    its = torch.cat([b.flatten(2) if module.dense else b for _, b in pairs])
    gap = (own - its).abs().max() / own.abs().max().clamp(min=1)
    members = len(predictor) if module.dense else 1
    p, q = (_probable(each, members) if module.dense else each for each in (own, its))
    same = (p > 0.5) == (q > 0.5) if predictor.task.kind == "multilabel" else p.argmax(1) == q.argmax(1)
    return Parity(float((p - q).abs().max()), float(same.float().mean()), float(gap), same.numel())


def require_parity(found: Parity, runtime: str, tolerance: float = TOLERANCE) -> None:
    """Refuse a runtime that says something else.

    Raises:
        NumericsError: outputs or probabilities differ by more than `tolerance`, or are not finite.
    """
    if found.difference <= tolerance and found.output <= tolerance:
        return
    msg = (
        f"{runtime} gives other numbers than PyTorch: probabilities differ by {found.difference:.2e}, outputs by "
        f"{found.output:.2e}, expected at most {tolerance:g}; same class in {found.agreement:.2%} of {found.answers} "
        "answers. Nothing was written. Export another format, and report the network's name."
    )
    raise NumericsError(msg)


def _probable(logits: Tensor, members: int) -> Tensor:
    """Return (B, O, n): the members' probabilities, averaged, for (B, M * O, n)."""
    each = logits.reshape(len(logits), members, -1, *logits.shape[2:])
    return each.softmax(2).mean(1)


def _size(predictor: Predictor) -> tuple[int, ...]:
    patches = predictor.first.patches
    return predictor.first.size if patches is None else patches.size
