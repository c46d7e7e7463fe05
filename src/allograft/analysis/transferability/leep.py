"""LEEP: how well the source's own classes predict the target's labels.

Idea      The source network is left as it is; its class probabilities are read as a dummy label that predicts
          the target's label by how often the two go together.
Paper     Nguyen, Hassner, Seeger, Archambeau, ICML 2020, arXiv:2002.12462
Formula   mean_i ln sum_z P(y_i | z) theta_z(x_i), P(y, z) = 1/N sum_{i: y_i = y} theta_z(x_i)
Defaults  none
Differs   none; a source class that no case is given any probability of is left out.
Checked   tests/unit/analysis/test_transferability.py: worked value; with one-hot probabilities it is NCE.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability.labelled import Array, Labels, labelled, one_hot
from allograft.core.errors import DataError
from allograft.core.reference import Reference

__all__ = ["PAPER", "leep", "source_probabilities"]

PAPER = Reference(
    title="LEEP: A New Measure to Evaluate Transferability of Learned Representations",
    authors=("Nguyen", "Hassner", "Seeger", "Archambeau"),
    year=2020,
    venue="ICML",
    arxiv="2002.12462",
)


def leep(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return LEEP, <= 0; larger promises more.

    Args:
        probabilities: (N, Z) of the source's classes, each row adding up to 1.
        labels: (N,) classes of the target.

    Raises:
        DataError: rows are no probabilities, or there is one class only.
    """
    theta, numbers = source_probabilities(probabilities, labels)
    joint = one_hot(numbers).T @ theta / len(theta)
    given = joint / joint.sum(0)
    likelihood = (given[numbers] * theta).sum(1)
    return float(np.log(likelihood).mean())


def source_probabilities(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Labels]:
    """Return checked probabilities (N, Z) without the source classes that never occur, and labels (N,).

    Raises:
        DataError: rows are no probabilities, or there is one class only.
    """
    theta, numbers = labelled(probabilities, labels)
    if (theta < 0).any() or np.abs(theta.sum(1) - 1).max() > 1e-6:
        msg = "LEEP and NCE need the source's class probabilities: rows of numbers >= 0 that add up to 1."
        raise DataError(msg)
    return theta[:, theta.any(0)], numbers
