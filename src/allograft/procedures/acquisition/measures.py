"""Measures: doubt of elements (E,) from the probabilities (K, E, C) of K passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.functional.uncertainty import entropy_bits, margin_doubt, mutual_information

__all__ = ["disagreement", "entropy", "margin"]

Array = npt.NDArray[Any]


def entropy(p: Array) -> npt.NDArray[np.float64]:
    """Return the entropy of the mean over passes, in bits."""
    return entropy_bits(p.mean(axis=0))


def margin(p: Array) -> npt.NDArray[np.float64]:
    """Return one minus the lead of the likeliest class, of the mean over passes."""
    return margin_doubt(p.mean(axis=0))


def disagreement(p: Array) -> npt.NDArray[np.float64]:
    """Return the mutual information between class and pass, in bits."""
    return mutual_information(p)
