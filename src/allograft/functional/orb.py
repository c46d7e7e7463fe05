"""ORB: one vector for an image without any network, the mean of its binary keypoint descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "orb_descriptor"]

BITS = 256
"""Binary components of an ORB descriptor."""
SMALLEST = 64
"""Least side that the octaves and the descriptor's window need; smaller pictures are enlarged (ours)."""


def orb_descriptor(picture: npt.NDArray[Any], keypoints: int = 500) -> npt.NDArray[np.float64]:
    """Return the rounded mean of an image's ORB descriptors.

    Args:
        picture: (H, W) grey values; scaled by the largest.
        keypoints: at most so many.

    Returns:
        (256,) of 0 and 1; zeros where nothing stands out.
    """
    from skimage import feature  # scikit-image takes a moment to import

    grey: npt.NDArray[Any] = np.asarray(picture, dtype=np.float64)
    grey = grey - min(0.0, float(grey.min()))
    high = float(grey.max())
    grey = grey / high if high > 0 else grey
    factor = -(-SMALLEST // min(grey.shape))
    if factor > 1:
        grey = np.kron(grey, np.ones((factor, factor)))
    found: Any = feature.ORB(n_keypoints=keypoints)  # type: ignore[no-untyped-call]
    try:
        found.detect_and_extract(grey)
    except (RuntimeError, ValueError, IndexError):  # no keypoint at all: a flat image
        return np.zeros(BITS)
    descriptors = np.asarray(found.descriptors, dtype=np.float64)
    return np.rint(descriptors.mean(axis=0)) if len(descriptors) else np.zeros(BITS)
