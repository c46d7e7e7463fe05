"""Multi-task learning: one encoder, heads for classification, segmentation and denoising trained together.

Idea      Labels of different kinds say different things about the same images. One encoder learns from all of them
          at once, and from the images themselves by taking noise away; a case without a label leaves its head alone.
Paper     Zamzmi, Rajaraman, Antani. UMS-Rep: unified modality-specific representation. 2020.  arXiv:2006.11223
Formula   L = sum_t w_t L_t over the tasks t with a label in the batch, L_t the plain loss of a task over the
          cases that have it. Denoising: L = mean (h(f(x + n)) - x)^2,  n ~ N(0, sigma^2)
          fixed: w_t given.  uncertainty: L = sum_t exp(-s_t) L_t + s_t with learned s_t; its optimum is s_t = log L_t.
          alternating: each step one task, every task once in a round, in an order drawn from seed and round.
Streams   train: images with the targets of the task and of `also`; each auxiliary data set in `on`; where
          `unlabelled`, cases without a label of the task, with their targets of `also`.
Defaults  also = none (ours).  on = none (ours).  denoise = 0, off (ours).  weighting = fixed (ours).
          weights = 1 (ours).
          unlabelled = false (ours).  batch = 0, the budget's cases of every stream (ours).
Differs   1. Only the paper's abstract is known to us; losses, weights and sigma are ours.
          2. Weights by uncertainty follow Kendall, Gal, Cipolla (CVPR 2018) in the form above.
          3. Noisy images pass the network by themselves, beside the clean ones.
          4. An alternating step whose task has no label in the batch changes nothing.
Checked   tests/reference/test_multi_task.py: the weighted sum of single losses and a mean squared error written
          out; one active task trains bit for bit as supervised; absent tasks give their heads no gradient; s goes to
          log L; every task has its turn; denoising learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.task_loss import task_loss
from allograft.objectives.task_weights import TaskWeights, Weighting

__all__ = ["DENOISE", "MultiTask"]

DENOISE = "denoise"
"""The head that takes noise away, and the name of its task."""


class MultiTask(Method):
    """Minimise the losses of several tasks together; the procedure ums_rep gives the network their heads.

    Args:
        also: further labels of the same cases (`also` of the data set), each with a head of its name.
        on: auxiliary data sets of the study, each with a head of its name.
        denoise: standard deviation of the noise in units of normalised images, 0 for no denoising.
        weighting: "fixed", "uncertainty" or "alternating".
        weights: by head, for fixed weights, >= 0; 1 where missing. Denoising is called "denoise", the task by its
            head ("label", of masks "mask").
        unlabelled: also read cases without a label of the task, for `also` and denoising.
        batch: cases of every stream in a step, 0 for the budget's.
    """

    name: ClassVar[str] = "multi_task"
    paper: ClassVar[Reference] = Reference(
        title="UMS-Rep: Unified Modality-Specific Representation for Efficient Medical Image Analysis",
        authors=("Zamzmi", "Rajaraman", "Antani"),
        year=2020,
        arxiv="2006.11223",
    )

    also: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    denoise: float = Field(default=0.0, ge=0)
    weighting: Weighting = "fixed"
    weights: Mapping[str, float] = Field(default_factory=dict)
    unlabelled: bool = False
    batch: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _useful(self) -> Self:
        if self.weights and self.weighting != "fixed":
            msg = f"weights are for weighting: fixed; this one is {self.weighting}"
            raise ValueError(msg)
        if any(weight < 0 for weight in self.weights.values()):
            msg = f"weights are at least 0, got {dict(self.weights)}"
            raise ValueError(msg)
        if self.unlabelled and not self.also and not self.denoise:
            msg = "unlabelled: cases without a label of the task are of use to `also` and `denoise` only"
            raise ValueError(msg)
        if len({*self.also, *self.on, DENOISE}) != len(self.also) + len(self.on) + 1:
            msg = f'also {list(self.also)} and on {list(self.on)} need different names, none of them "{DENOISE}"'
            raise ValueError(msg)
        return self

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the stream of the task, of unlabelled cases and of every auxiliary data set."""
        pixels = bool(self.denoise or self.also)
        found = {"train": StreamSpec("train", batch=self.batch, heads=self.also, pixels=pixels)}
        if self.unlabelled:
            found["unlabelled"] = found["train"]._replace(role="unlabelled", labelled=bool(self.also))
        return found | {name: StreamSpec(name, batch=self.batch, pixels=pixels) for name in self.on}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the logarithms of uncertain weights and the seed of the order.

        Raises:
            ConfigError: the network lacks a head, or a weight is of no task.
        """
        known = {**nets["net"].tasks, task.head: task}
        heads = (task.head, *self.also, *self.on, *((DENOISE,) if self.denoise else ()))
        missing = [head for head in heads if head not in known]
        if missing:
            msg = (
                f'multi_task: the network has no head "{missing[0]}" ({", ".join(sorted(known))}). '
                "Heads of several tasks are made by procedure: ums_rep."
            )
            raise ConfigError(msg)
        if strange := sorted(set(self.weights) - set(heads)):
            msg = f'multi_task: weights names "{strange[0]}", the tasks are {", ".join(heads)}.'
            raise ConfigError(msg)
        return _MultiTask(self, {head: known[head] for head in heads}, task.head)


class _MultiTask(Criterion):
    """The tasks' losses together; owns the learned weights, or what names the order of alternating tasks."""

    def __init__(self, spec: MultiTask, tasks: Mapping[str, Task], head: str) -> None:
        super().__init__()
        self.sigma = spec.denoise
        self.weights = TaskWeights(tuple(tasks), spec.weighting, spec.weights)
        self.losses = {name: task_loss(task) for name, task in tasks.items() if name != DENOISE}
        self.reads = {"train": (head, *spec.also), **({"unlabelled": spec.also} if spec.unlabelled else {})}
        self.reads |= {name: (name,) for name in spec.on}

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the weighted sum; a task without a label in the batch is 0 and has no weight."""
        net, active = nets["net"], self.weights.active(at.step)
        found: dict[str, list[Tensor]] = {}
        absent: set[str] = set(active) - {DENOISE}
        for stream, heads in self.reads.items():
            part, asked = batch[stream], [head for head in heads if head in active]
            out = net(part.image) if asked else None
            for head in asked:
                assert out is not None, "something was asked"
                if bool(part.present[head].any()) or stream != "unlabelled":
                    found.setdefault(head, []).append(self.losses[head](out, part).total)
                if bool(part.present[head].any()):
                    absent.discard(head)
        if DENOISE in active:
            found[DENOISE] = [self._error(net, batch[stream].image) for stream in self.reads]
        losses = {name: torch.stack(each).mean() if len(each) > 1 else each[0] for name, each in found.items()}
        parts = {f"task_{name}": loss.detach() for name, loss in losses.items()}
        return Loss(self.weights(losses, frozenset(absent)), parts)

    def _error(self, net: Network, clean: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the mean squared error of images that were made noisy."""
        assert isinstance(clean, Tensor), "the streams say that images are needed"
        noisy = clean + self.sigma * torch.randn_like(clean)
        error: Tensor = (net(noisy).logits[DENOISE] - clean).square().mean()
        return error
