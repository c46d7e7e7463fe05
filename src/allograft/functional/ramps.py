"""Ramps: weights that grow over training.

Sources: Laine, Aila. Temporal ensembling. ICLR 2017. arXiv:1610.02242 (sigmoid ramp). Ganin et al. JMLR 2016.
arXiv:1505.07818 (the ramp of adversarial weights).
"""

from __future__ import annotations

import math

__all__ = ["ganin_ramp", "sigmoid_ramp"]


def sigmoid_ramp(fraction: float) -> float:
    """Return exp(-5 (1 - x)^2) for x = `fraction` cut to [0, 1]; 0.0067 at 0, 1 from 1 on.

    >>> round(sigmoid_ramp(0.5), 6)
    0.286505
    """
    x = min(max(fraction, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - x) ** 2)


def ganin_ramp(fraction: float, gamma: float = 10.0) -> float:
    """Return 2 / (1 + exp(-gamma x)) - 1 for x = `fraction`: 0 at 0, nearly 1 at 1.

    >>> ganin_ramp(0.0)
    0.0
    """
    return 2.0 / (1.0 + math.exp(-gamma * fraction)) - 1.0
