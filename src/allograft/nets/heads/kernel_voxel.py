"""Kernel voxel head: a kernel classifier's decision about every element; it is written, not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from allograft.nets.network import Head

__all__ = ["KernelVoxelHead"]

BLOCK = 1 << 22
"""Kernel values that are made at a time (16 MB)."""


class KernelVoxelHead(Head):
    """Decisions f_r(x) = sum_j coef_rj z_j(x) + intercept_r of standardised features x, as logits of the classes.

    z(x) are kernel values of anchors, sum_k theta_k exp(-sum_f rates_kf (x_f - a_f)^2), or, where there are twice as
    many coefficients as points, cosines and sines of frequencies. Decisions are logits of a class each; a single one is
    of the second of two classes, whose logits are then -f / 2 and f / 2. With `votes` a logit is a weighted sum of the
    signs of decisions. Not linear in the features: windows are blended by their logits.

    Tensors take the sizes of what is written or loaded: how many anchors there are is learnt from the data. Until then
    all coefficients are 0.

    Args:
        features: channels F of the decoder.
        outputs: number of logits O, >= 2.
        anchors: points A before anything is written.
    """

    def __init__(self, features: int, outputs: int, anchors: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("points", torch.zeros(anchors, features))
        self.register_buffer("theta", torch.ones(1))
        self.register_buffer("rates", torch.ones(1, features))
        self.register_buffer("intercept", torch.zeros(outputs))
        self.register_buffer("votes", torch.zeros(0, 0))
        self.coef = nn.Parameter(torch.zeros(outputs, anchors))

    def write(self, values: Mapping[str, Tensor]) -> None:
        """Take over centre and scale (F,), points (A, F), theta (K,), rates (K, F), coef (R, A or 2A), intercept (R,).

        And votes (O, R), or (0, 0) for none; for two classes R or O of the votes is 1.
        """
        own = self.state_dict()
        assert values.keys() == own.keys(), f"expected {sorted(own)}"
        self._take(values)
        decided = len(self._own("votes")) or len(self.coef)
        assert decided == self.outputs or (decided == 1 and self.outputs == 2), f"{decided} decisions"

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O, *S) for decoded (B, F, *S); `pooled` is not used."""
        assert decoded is not None, "a voxel head stands behind a decoder"
        with torch.autocast("cuda" if decoded.is_cuda else "cpu", enabled=False):
            rows = decoded.float().movedim(1, -1).flatten(0, -2)
            rows = (rows - self._own("centre")) / self._own("scale")
            size = max(1, BLOCK // max(1, self.coef.shape[1]))
            parts = [rows] if _traced() else torch.split(rows, size)
            logits = torch.cat([self._decide(part) for part in parts])
        return logits.reshape(decoded.shape[0], *decoded.shape[2:], self.outputs).movedim(-1, 1)

    def _decide(self, x: Tensor) -> Tensor:
        """Return logits (n, O) of standardised features (n, F)."""
        found = self._features(x) @ self.coef.T + self._own("intercept")
        votes = self._own("votes")
        if votes.numel():
            found = (2.0 * (found > 0) - 1.0) @ votes.T
        return torch.cat([-found / 2, found / 2], dim=1) if found.shape[1] < self.outputs else found

    def _features(self, x: Tensor) -> Tensor:
        points = self._own("points")
        if self.coef.shape[1] == 2 * len(points):
            angle = x @ points.T
            return torch.cat([angle.cos(), angle.sin()], dim=1)
        total: Tensor | None = None
        for theta, rates in zip(self._own("theta"), self._own("rates"), strict=True):
            a, b = x * rates.sqrt(), points * rates.sqrt()
            squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
            value = theta * torch.exp(-squares.clamp(min=0))
            total = value if total is None else total + value
        assert total is not None, "there is a kernel"
        return total

    def _own(self, name: str) -> Tensor:
        return cast("Tensor", getattr(self, name))

    def _take(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            kept = self._own(name)
            fresh = value.detach().to(device=kept.device, dtype=kept.dtype).clone()
            if name == "coef":
                self.coef = nn.Parameter(fresh, requires_grad=kept.requires_grad)
            else:
                setattr(self, name, fresh)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Take the sizes of the file before its values are copied."""
        found = {name: state_dict[prefix + name] for name in self.state_dict() if prefix + name in state_dict}
        self._take(found)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _traced() -> bool:
    """Tell whether the network is being exported: blocks would become as many copies of the code."""
    return bool(torch._C._get_tracing_state()) or torch.compiler.is_compiling()
