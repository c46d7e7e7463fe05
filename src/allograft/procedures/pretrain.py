"""Pre-train on auxiliary data: learn other labelled data first, then move the encoder to the task.

Idea      With few labelled cases of the task, first learn one that has more: the same task with automatic
          labels, another task, or several data sets at once (one head each). The study says which helps.
Paper     Weatheritt, Rueckert, Wolz. Transfer learning for brain segmentation: pre-task selection and data
          limitations. MIUA 2020.  doi:10.1007/978-3-030-52791-4_10
Formula   1. min over w, h_j of mean_j L_j(h_j(f_w(x_j)), y_j) on the auxiliary data;  2. f <- f_w by the start
          `move`, then the recipe's objective and tuning on the task
Streams   stage 1: one for each data set in `on` (multi_head). Stage 2: the recipe's objective's.
Defaults  on = none, it must be named (ours).  share = 0.5 of the recipe's steps (ours).  move = full, with the
          decoder fresh (ours).
Differs   1. Architecture, rates and steps of the paper are not known to us; any network and budget goes.
          2. The budget of a recipe holds both stages, so that it is compared fairly with one that trains on
          the task alone; the batch is shared by the data sets of a step.
Checked   tests/reference/test_pretrain.py: stages, shares and roles with a fake Lab; the moved encoder is the
          pre-trained one bit for bit; the second stage starts from another encoder than without.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.link import Handed, Link, different, finish, follow, require_known
from allograft.starts.full import Full

__all__ = ["Pretrain"]


class Pretrain(Method):
    """Train on auxiliary data sets, then on the task from that encoder.

    The recipe's start and source say how the first stage begins; `move` how its result is carried over.

    Args:
        on: auxiliary data sets of the study.
        share: of the recipe's steps for the first stage, in (0, 1); the rest trains on the task.
        move: settings of the start "full" that carries the first stage's network over.
    """

    name: ClassVar[str] = "pretrain"
    paper: ClassVar[Reference] = Reference(
        title="Transfer Learning for Brain Segmentation: Pre-task Selection and Data Limitations",
        authors=("Weatheritt", "Rueckert", "Wolz"),
        year=2020,
        venue="MIUA",
        doi="10.1007/978-3-030-52791-4_10",
    )

    on: tuple[str, ...] = ()
    share: float = Field(default=0.5, gt=0, lt=1)
    move: Full = Full()

    @field_validator("on")
    @classmethod
    def _different(cls, on: tuple[str, ...]) -> tuple[str, ...]:
        return different(on)

    def run(self, lab: Lab) -> Network:
        """Pre-train one stage called "pretrain", move, train "finetune", return the network.

        Raises:
            ConfigError: no data set is named, or the study does not have it as auxiliary.
        """
        require_known(lab, self.on, who=self.name)
        link = Link(on=self.on, share=self.share, move=self.move)
        handed = follow(lab, link, Handed(), stage="pretrain", who=self.name)
        return finish(lab, handed, share=1 - self.share, who=self.name)
