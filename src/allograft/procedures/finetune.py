"""Fine-tune: one stage, the recipe's start, tuning and objective on the labelled training cases.

Idea      The plain case that every other procedure is compared with: start, then train once.
Paper     none; the field's common practice.
Formula   min_w  mean over training cases of the objective's loss
Streams   those of the recipe's objective, on the training cohort.
Defaults  share = 1 of the recipe's steps (ours).
Differs   none.
Checked   tests/reference/test_finetune.py: one stage with a fake Lab; the whole budget is used.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import HOUSE, Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network

__all__ = ["Finetune"]


class Finetune(Method):
    """Train once and return the network."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[Reference] = HOUSE

    def run(self, lab: Lab) -> Network:
        """Start, train one stage called "finetune", return the network."""
        return lab.train("finetune", lab.start())
