"""Random: cases are drawn blindly; the baseline of every acquisition.

Idea      What a round would have brought without any acquisition: every unlabelled case is as likely.
Paper     none; the field's common baseline.
Formula   a draw of k out of N without replacement
Streams   none: no network is asked.
Defaults  none.
Differs   none.
Checked   tests/reference/test_acquisitions.py: reproducible, uniform over many seeds, no case twice.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from allograft.contracts import HOUSE, Method
from allograft.core.reference import Reference
from allograft.procedures.acquisition.acquisition import Situation

__all__ = ["Random"]


class Random(Method):
    """Draw cases blindly."""

    name: ClassVar[str] = "random"
    paper: ClassVar[Reference] = HOUSE

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return `count` drawn ids."""
        order = np.random.default_rng(seed).permutation(len(state.ids))
        return tuple(state.ids[i] for i in order[:count])
