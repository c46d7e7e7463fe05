"""Elements: drawn pixels or voxels of images, as samples of a classifier."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Elements"]


class Elements(NamedTuple):
    """Drawn elements of images.

    Args:
        features: (N, F) float32, of a level of an encoder.
        labels: (N,) int64, -1 where the case has no mask.
        cases: (N,) int64, which case of the cohort each comes from; in order.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    cases: npt.NDArray[np.int64]
