"""NCE: how uncertain the target's labels are once the source's likeliest class is known.

Idea      If cases that the source gives one class also share a target class, little is left to learn.
Paper     Tran, Nguyen, Hassner, ICCV 2019, arXiv:1908.08142
Formula   - H(Y | Z), Z = argmax of the source's class probabilities, natural logarithm
Defaults  none
Differs   1. The paper knows the source's labels of the same cases; here they are the source network's guesses, as
          LEEP's authors do.
Checked   tests/unit/analysis/test_transferability.py: worked value; LEEP of one-hot probabilities.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability.labelled import one_hot
from allograft.analysis.transferability.leep import source_probabilities
from allograft.core.reference import Reference

__all__ = ["PAPER", "nce"]

PAPER = Reference(
    title="Transferability and Hardness of Supervised Classification Tasks",
    authors=("Tran", "Nguyen", "Hassner"),
    year=2019,
    venue="ICCV",
    arxiv="1908.08142",
)


def nce(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the negative conditional entropy, <= 0; larger promises more.

    Args:
        probabilities: (N, Z) of the source's classes, each row adding up to 1.
        labels: (N,) classes of the target.

    Raises:
        DataError: rows are no probabilities, or there is one class only.
    """
    theta, numbers = source_probabilities(probabilities, labels)
    joint = one_hot(numbers).T @ np.eye(theta.shape[1])[theta.argmax(1)] / len(theta)
    given = joint / np.where(joint.sum(0) > 0, joint.sum(0), 1)
    return float((joint[joint > 0] * np.log(given[joint > 0])).sum())
