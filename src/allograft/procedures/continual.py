"""Continual pre-training: a chain of stages, from general images over data like the task's to the task.

Idea      Weights from photographs know edges, data of the same kind know tissue, the task has few labels: let
          the network learn them in this order, each stage starting from the one before.
Paper     Hosseinzadeh Taher, Haghighi, Feng, Gotway, Liang. A systematic benchmarking analysis of transfer
          learning for medical image analysis. DART 2021.  arXiv:2108.05930
Formula   f_0 <- the recipe's start;  f_k <- argmin over f, h of L_k(h(f(x)), y) on link k, f begun from f_{k-1} by
          the start `move`, h fresh;  then the recipe's objective and tuning on the task, begun from f_K
Streams   link k: one for each data set in its `on` (multi_head), or what its own objective reads, as "train".
          Last stage: the recipe's objective's.
Defaults  links = none, which is fine-tuning (ours).  Of a link: objective = the plain loss of its data (paper),
          tuning = all tensors (paper), move = full, heads and decoder fresh (paper for heads, ours for decoders).
Differs   1. The budget of a recipe holds all links, so that a chain is compared fairly with one that trains on the
          task alone; the paper trains each stage until its validation stops improving.
          2. Any number of links, any auxiliary data sets, masks as well as labels; the paper has one link of
          multi-label radiographs between ImageNet and the task.
          3. Each link searches its rate within its own steps, on its own validation cases.
Checked   tests/reference/test_continual.py: stages and shares with a fake Lab; the encoder is handed on bit for bit,
          link by link; no link is fine-tuning to the byte, one is pretrain; wrong names and shares are refused.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.link import Handed, Link, finish, follow, require_known

__all__ = ["Continual", "Link"]


class Continual(Method):
    """Train along a chain of auxiliary data, then on the task.

    The recipe's start and source say how the first link begins; each link's `move` how its result is carried over.

    Args:
        links: in order; their shares of the recipe's steps add up to less than 1, the rest trains on the task.
    """

    name: ClassVar[str] = "continual"
    paper: ClassVar[Reference] = Reference(
        title="A Systematic Benchmarking Analysis of Transfer Learning for Medical Image Analysis",
        authors=("Hosseinzadeh Taher", "Haghighi", "Feng", "Gotway", "Liang"),
        year=2021,
        venue="DART (MICCAI workshop)",
        arxiv="2108.05930",
    )

    links: tuple[Link, ...] = ()

    @field_validator("links")
    @classmethod
    def _leave_steps(cls, links: tuple[Link, ...]) -> tuple[Link, ...]:
        used = sum(link.share for link in links)
        if used >= 1 - 1e-9:
            msg = f"the shares of the links add up to {used:g}, which leaves no steps for the task; lower them"
            raise ValueError(msg)
        return links

    def run(self, lab: Lab) -> Network:
        """Train stages "link1", "link2", ..., then "finetune"; return the network.

        Raises:
            ConfigError: a link names what the study has not as auxiliary data, or a move that carries nothing.
        """
        for link in self.links:
            require_known(lab, link.on, who=self.name)
        handed = Handed()
        for number, link in enumerate(self.links, 1):
            handed = follow(lab, link, handed, stage=f"link{number}", who=self.name)
        return finish(lab, handed, share=1 - sum(link.share for link in self.links), who=self.name)
