"""MMD: how far two samples lie apart, by the distance of their means in the feature space of a kernel.

Gretton, Borgwardt, Rasch, Schölkopf, Smola. A kernel two-sample test. JMLR 13, 2012. Several kernels at once: Long,
Cao, Wang, Jordan. Learning transferable features with deep adaptation networks. ICML 2015. arXiv:1502.02791
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allograft.core.errors import ConfigError

__all__ = ["FACTORS", "median_distance", "mmd", "multi_kernel_mmd", "rbf", "squared_distances"]

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the kernels in units of the median: 2^-2 to 2^2."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return ||a_i - b_j||^2, (N, M), >= 0, for rows a (N, F) and b (M, F); its gradient is finite for equal rows."""
    middle = a.detach().mean(0)  # distances do not change, digits are saved
    a, b = a - middle, b - middle
    with torch.autocast(a.device.type, enabled=False):  # a difference of large numbers needs all its digits
        return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp(min=0)


def rbf(a: Tensor, b: Tensor, gamma: float) -> Tensor:
    """Return exp(-gamma ||a_i - b_j||^2), (N, M), for rows a (N, F) and b (M, F)."""
    return (-gamma * squared_distances(a, b)).exp()


def mmd(aa: Tensor, bb: Tensor, ab: Tensor, *, unbiased: bool = False) -> Tensor:
    """Return the squared MMD, (), of two samples from their kernels.

    Args:
        aa: (N, N) within the first sample.
        bb: (M, M) within the second.
        ab: (N, M) between them.
        unbiased: leave diagonals out: 0 on average for equal laws, and possibly below 0; else >= 0.

    Raises:
        ConfigError: a sample is too small.
    """
    least = 2 if unbiased else 1
    if min(ab.shape) < least:
        msg = f"MMD of {ab.shape[0]} and {ab.shape[1]} rows: expected at least {least} of each. Raise the batch."
        raise ConfigError(msg)
    return _mean(aa, unbiased) + _mean(bb, unbiased) - 2 * ab.mean()


def _mean(kernel: Tensor, unbiased: bool) -> Tensor:
    if not unbiased:
        return kernel.mean()
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))


def median_distance(distances: Tensor) -> Tensor:
    """Return the median, (), of the squared distances (N, N) of different rows, without a gradient; 1 where it is 0."""
    here = ~torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    found = distances.detach()[here].median() if len(distances) > 1 else distances.new_zeros(())
    return torch.where(found > 0, found, torch.ones_like(found))


def multi_kernel_mmd(a: Tensor, b: Tensor, *, factors: Sequence[float] = FACTORS, unbiased: bool = False) -> Tensor:
    """Return the squared MMD, (), under the sum of Gaussian kernels k(x, y) = exp(-||x - y||^2 / (c m)).

    m is the median squared distance of all rows together, c each of `factors`; the bandwidth follows the data, so
    that features which shrink do not look aligned.

    Args:
        a: rows (N, F).
        b: rows (M, F).
        factors: > 0.
        unbiased: see `mmd`.

    Raises:
        ConfigError: a sample is too small.
    """
    rows = torch.cat([a, b])
    rows = rows if rows.dtype == torch.float64 else rows.float()
    distances = squared_distances(rows, rows)
    scaled = distances / median_distance(distances)
    kernel = torch.stack([(-scaled / factor).exp() for factor in factors]).sum(0)
    n = len(a)
    return mmd(kernel[:n, :n], kernel[n:, n:], kernel[:n, n:], unbiased=unbiased)
