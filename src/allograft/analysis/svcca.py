"""SVCCA: CCA after dropping the directions that hardly vary.

Idea      A layer has many neurons and few directions that matter; compare only those.
Paper     Raghu, Gilmer, Yosinski, Sohl-Dickstein, NeurIPS 2017, arXiv:1706.05806
Formula   keep the top singular directions with at least `keep` of the variance, then CCA
Defaults  keep = 0.99 (ours).
Differs   none in the two steps; CCA as in `cca`.
Checked   tests/unit/analysis/test_svcca.py: keep = 1 is CCA; small noise directions are ignored;
          the kept directions equal scikit-learn's PCA.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.activations import centred_pair
from allograft.analysis.cca import correlations

__all__ = ["svcca", "svcca_similarity"]

Array = npt.NDArray[np.float64]


def svcca(x: npt.ArrayLike, y: npt.ArrayLike, *, keep: float = 0.99) -> Array:
    """Return the canonical correlations of the directions that carry `keep` of the variance.

    Args:
        x: (n, p) or (N, C, *S) activations of one layer.
        y: (n, q) or (N, D, *S) of another, on the same images.
        keep: share of the variance, in (0, 1].

    Raises:
        ValueError: `keep` lies outside (0, 1].
        DataError: as `cca`.
    """
    if not 0 < keep <= 1:
        msg = f"keep is a share of the variance in (0, 1], got {keep}."
        raise ValueError(msg)
    first, second = (_top(matrix, keep) for matrix in centred_pair(x, y))
    return correlations(first, second)


def svcca_similarity(x: npt.ArrayLike, y: npt.ArrayLike, *, keep: float = 0.99) -> float:
    """Return the mean correlation of `svcca`, in [0, 1]."""
    return float(svcca(x, y, keep=keep).mean())


def _top(matrix: Array, keep: float) -> Array:
    """Return the projections (n, k) on the fewest directions with `keep` of the variance."""
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    share = np.cumsum(s**2) / np.sum(s**2)
    k = int(np.searchsorted(share, keep - 1e-12)) + 1
    return np.asarray(u[:, :k] * s[:k], dtype=np.float64)
