"""Linear CKA: how alike two layers are, invariant to rotation and scale only.

Idea      Compare which images a layer finds alike, instead of the neurons themselves; works with more
          neurons than images.
Paper     Kornblith, Norouzi, Lee, Hinton, ICML 2019, arXiv:1905.00414
Formula   ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F), X and Y centred
Defaults  none
Differs   none; with fewer images than neurons the same number is taken from the n x n Gram matrices.
          This is the usual, biased estimate: with few images it reads high.
Checked   tests/unit/analysis/test_cka.py: worked value; both routes equal; invariances, and that
          a general linear map does change it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.activations import centred_pair

__all__ = ["linear_cka"]


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return linear CKA, in [0, 1].

    Args:
        x: (n, p) or (N, C, *S) activations of one layer.
        y: (n, q) or (N, D, *S) of another, on the same images.

    Raises:
        DataError: the data points differ in number, or a layer does not vary.
    """
    first, second = centred_pair(x, y)
    # CKA ignores scale; scaling first keeps tiny activations from vanishing when squared.
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    if len(first) < max(first.shape[1], second.shape[1]):
        gram_x, gram_y = first @ first.T, second @ second.T
        return float(np.sum(gram_x * gram_y) / (np.linalg.norm(gram_x) * np.linalg.norm(gram_y)))
    shared = np.linalg.norm(first.T @ second) ** 2
    return float(shared / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))
