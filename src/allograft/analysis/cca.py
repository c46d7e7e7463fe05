"""CCA: how alike two layers are, whatever linear mixing lies between their neurons.

Idea      Find the directions in both layers whose activations correlate most; average the
          correlations.
Paper     Hotelling, Biometrika 28, 1936; for networks Raghu et al. (Transfusion), NeurIPS 2019,
          arXiv:1902.07208
Formula   rho = singular values of Ux^T Uy, with U an orthonormal basis of the centred activations
Defaults  rank tolerance 1e-10 of the largest singular value (ours).
Differs   1. Bases come from a singular value decomposition instead of inverted covariances with an
          added epsilon; directions without variance are left out instead of being regularised.
          2. The mean is over all min(rank) correlations, not over those up to 98 % of their sum.
Checked   tests/unit/analysis/test_cca.py: worked values; scikit-learn's CCA; invariance to
          invertible affine maps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.activations import centred_pair
from allograft.core.errors import DataError

__all__ = ["cca", "cca_similarity"]

Array = npt.NDArray[np.float64]

RANK = 1e-10


def cca(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Return the canonical correlations, largest first.

    Args:
        x: (n, p) or (N, C, *S) activations of one layer.
        y: (n, q) or (N, D, *S) of another, on the same images.

    Returns:
        (r,) in [0, 1], r = the smaller rank of the two.

    Raises:
        DataError: there are not more data points than neurons; then any two layers correlate
            perfectly and the result would mean nothing.
    """
    first, second = centred_pair(x, y)
    return correlations(first, second)


def cca_similarity(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the mean canonical correlation, in [0, 1]; see `cca`."""
    return float(cca(x, y).mean())


def correlations(first: Array, second: Array) -> Array:
    """Return the canonical correlations of two centred matrices (n, p) and (n, q)."""
    bases = [_basis(matrix) for matrix in (first, second)]
    n = len(first)
    # Centred data fill at most n - 1 dimensions; two subspaces that together fill more must meet.
    if bases[0].shape[1] + bases[1].shape[1] >= n:
        msg = (
            f"CCA of {bases[0].shape[1]} and {bases[1].shape[1]} directions needs more than their sum of data points, "
            f"got {n}: correlations of 1 would be forced. Use more images, SVCCA or CKA."
        )
        raise DataError(msg)
    values = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return np.clip(values, 0.0, 1.0)


def _basis(matrix: Array) -> Array:
    """Return an orthonormal basis (n, rank) of the columns' span."""
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(u[:, s > RANK * s[0]], dtype=np.float64)
