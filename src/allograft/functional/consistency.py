"""Consistency: how sure a network is, and how far two of its answers lie apart.

Answers of every kind of task are laid out alike, (B, C, *E): C exclusive outcomes on axis 1 and E independent
questions behind it. A binary task has C = 2 and no E, a multi-class one its classes and no E, a multi-label one C = 2
(no, yes) and its labels as E, a segmentation its classes and the positions as E. Whatever is written for one layout
then holds for all of them, in 2-D and 3-D.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.task import Kind
from allograft.functional.ramps import sigmoid_ramp

__all__ = [
    "certainty_bound",
    "entropy",
    "entropy_of_logs",
    "jitter",
    "log_shares",
    "mix",
    "shares",
    "squared_distance",
    "symmetric_kl",
]


def log_shares(logits: Tensor, kind: Kind) -> Tensor:
    """Return log-probabilities (B, C, *E) that sum to 1 over axis 1, in float32 or wider.

    Args:
        logits: (B, O) or (B, O, *S).
        kind: of the task; the softmax is over classes, never over an axis of the image.

    Raises:
        ConfigError: a regression has no probabilities.

    >>> log_shares(torch.zeros(1, 3), "multilabel").exp().shape
    torch.Size([1, 2, 3])
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if kind in {"multiclass", "segmentation"}:
        return wide.log_softmax(1)
    if kind == "multilabel":
        return torch.stack([F.logsigmoid(-wide), F.logsigmoid(wide)], 1)
    if kind == "binary":
        return torch.cat([F.logsigmoid(-wide), F.logsigmoid(wide)], 1)
    msg = f"a {kind} task has no classes whose probabilities could be compared. Take an objective without them."
    raise ConfigError(msg)


def shares(logits: Tensor, kind: Kind) -> Tensor:
    """Return probabilities (B, C, *E) that sum to 1 over axis 1; see `log_shares`."""
    if kind in {"multiclass", "segmentation"}:
        return (logits if logits.dtype == torch.float64 else logits.float()).softmax(1)
    return log_shares(logits, kind).exp()


def entropy(p: Tensor) -> Tensor:
    """Return -sum_c p_c ln p_c, (B, *E), in [0, ln C], for p (B, C, *E).

    >>> round(float(entropy(torch.tensor([[0.75, 0.25]]))), 6)
    0.562335
    """
    each: Tensor = torch.special.entr(p)
    return each.sum(1)


def entropy_of_logs(log_p: Tensor) -> Tensor:
    """Return -sum_c p_c ln p_c, (B, *E), for log-probabilities (B, C, *E); its gradient is finite where p is 0."""
    return -(log_p.exp() * log_p).sum(1)


def certainty_bound(fraction: float, classes: int) -> float:
    """Return the entropy below which a teacher's answer counts, rising from 0.7517 ln C to ln C.

    (0.75 + 0.25 exp(-5 (1 - x)^2)) ln C for training progress x in [0, 1]: Yu et al. 2019. Their released code
    writes ln 2 for any number of classes, which for more than two keeps unsure answers out for ever.

    >>> round(certainty_bound(0.5, 2), 6)
    0.569508
    """
    return (0.75 + 0.25 * sigmoid_ramp(fraction)) * math.log(classes)


def squared_distance(p: Tensor, q: Tensor) -> Tensor:
    """Return the mean over classes of (p - q)^2, (B, *E), for p and q (B, C, *E)."""
    return (p - q).square().mean(1)


def symmetric_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return (KL(p || q) + KL(q || p)) / 2, (B, *E), for log-probabilities (B, C, *E).

    >>> symmetric_kl(torch.zeros(1, 2).log_softmax(1), torch.zeros(1, 2).log_softmax(1))
    tensor([0.])
    """
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)


def jitter(image: Tensor, scale: float) -> Tensor:
    """Return images plus normal noise of standard deviation `scale`, cut at twice that; the images for 0."""
    if scale == 0:
        return image
    return image + (scale * torch.randn_like(image)).clamp_(-2 * scale, 2 * scale)


def mix(x: Tensor, share: Tensor) -> Tensor:
    """Return share * x_i + (1 - share) * x_(i-1) for x (B, ...): each case with its neighbour, the first with the last.

    Args:
        x: (B, ...).
        share: (B,) in [0, 1].
    """
    own = share.to(x).view(-1, *[1] * (x.ndim - 1))
    return own * x + (1 - own) * x.roll(1, 0)
