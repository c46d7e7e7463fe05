"""CORAL: the distance of two samples' covariances.

Sun, Saenko. Deep CORAL: correlation alignment for deep domain adaptation. ECCV Workshops 2016. arXiv:1607.01719
"""

from __future__ import annotations

import torch
from torch import Tensor

from allograft.core.errors import ConfigError

__all__ = ["coral", "covariance"]


def covariance(x: Tensor) -> Tensor:
    """Return the unbiased covariance (F, F) of rows (N, F), in float32 or wider.

    Raises:
        ConfigError: fewer than two rows.
    """
    if len(x) < 2:
        msg = f"a covariance of {len(x)} rows: expected at least 2. Raise the batch."
        raise ConfigError(msg)
    wide = x if x.dtype == torch.float64 else x.float()
    centred = wide - wide.mean(0)
    with torch.autocast(x.device.type, enabled=False):
        return centred.T @ centred / (len(x) - 1)


def coral(a: Tensor, b: Tensor) -> Tensor:
    """Return ||C_a - C_b||_F^2 / (4 F^2), (), of rows a (N, F) and b (M, F); 0 for equal covariances.

    Raises:
        ConfigError: fewer than two rows in one of them.
    """
    return (covariance(a) - covariance(b)).square().sum() / (4 * a.shape[1] ** 2)
