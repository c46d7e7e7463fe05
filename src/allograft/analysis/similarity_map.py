"""Similarity map: every layer of one network against every layer of another, for the heat map.

A number means something only beside a baseline: two networks trained from different random seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["SimilarityMap", "similarity_map"]


class SimilarityMap(NamedTuple):
    """Similarities of layers.

    Args:
        rows: R layer names of the first network.
        columns: K layer names of the second.
        values: (R, K) in [0, 1].
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]


def similarity_map(
    first: Mapping[str, npt.ArrayLike],
    second: Mapping[str, npt.ArrayLike],
    measure: Callable[[npt.ArrayLike, npt.ArrayLike], float],
) -> SimilarityMap:
    """Compare all layers of two networks on the same images.

    Args:
        first: (N, F) activations by layer; pool convolution layers over space, for their sizes differ.
        second: of the other network, same N images in the same order.
        measure: `linear_cka`, `svcca_similarity` or `cca_similarity`.
    """
    values = np.array([[measure(x, y) for y in second.values()] for x in first.values()], dtype=np.float64)
    return SimilarityMap(tuple(first), tuple(second), values)
