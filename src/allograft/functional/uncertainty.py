"""Uncertainty: how little probabilities say, element by element; plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Measure", "entropy_bits", "margin_doubt", "most_doubtful", "mutual_information"]

Array = npt.NDArray[Any]
Measure = Callable[[Array], npt.NDArray[np.float64]]
"""From the probabilities (K, E, C) of K passes over E elements to the doubt (E,), larger is less sure."""


def entropy_bits(p: Array) -> npt.NDArray[np.float64]:
    """Return the entropy of probabilities in bits; a probability of 0 adds nothing.

    Args:
        p: (..., C), rows sum to 1.

    Returns:
        (...,) in [0, log2 C].

    >>> entropy_bits(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    p = np.asarray(p, dtype=np.float64)
    terms = p * np.log2(np.where(p > 0, p, 1.0))
    found: npt.NDArray[np.float64] = np.abs(terms.sum(axis=-1))  # abs: no minus before a zero
    return found


def margin_doubt(p: Array) -> npt.NDArray[np.float64]:
    """Return 1 - (largest - second largest probability) of (..., C), in [0, 1].

    >>> margin_doubt(np.array([[0.5, 0.25, 0.25]])).tolist()
    [0.75]
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64), axis=-1)
    found: npt.NDArray[np.float64] = 1.0 - (ordered[..., -1] - ordered[..., -2])
    return found


def mutual_information(p: Array) -> npt.NDArray[np.float64]:
    """Return what passes disagree about, in bits: entropy of their mean less the mean of their entropies.

    Args:
        p: (K, ..., C) probabilities of K passes.

    Returns:
        (...,) >= 0; 0 where all passes say the same, however unsure they are.
    """
    p = np.asarray(p, dtype=np.float64)
    found: npt.NDArray[np.float64] = np.maximum(entropy_bits(p.mean(axis=0)) - entropy_bits(p).mean(axis=0), 0.0)
    return found


def most_doubtful(doubt: Array, count: int) -> list[int]:
    """Return the indices of the `count` largest values, the largest first; of equal ones the smaller index first.

    >>> most_doubtful(np.array([0.1, 0.9, 0.9]), 2)
    [1, 2]
    """
    return [int(i) for i in np.argsort(-np.asarray(doubt, dtype=np.float64), kind="stable")[:count]]
