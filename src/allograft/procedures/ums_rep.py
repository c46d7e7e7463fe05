"""UMS-Rep: a representation of a modality first, then the heads of all tasks fine-tuned together from it.

Idea      Images of one modality share what they look like. An encoder that has learnt every task of the modality at
          once, on all its images, is a start from which several heads are fine-tuned together.
Paper     Zamzmi, Rajaraman, Antani. UMS-Rep: unified modality-specific representation. 2020.  arXiv:2006.11223
Formula   1. min over f, h_t of multi_task's loss on all data of the modality.  2. f <- f by the start `move`, fresh
          heads; min of the same loss on the task's own data, by the recipe's tuning. The studied task's head is kept.
Streams   those of the objective multi_task; the first stage also reads cases without a label of the task.
Defaults  share = 0.5 of the recipe's steps (ours).  move = full, with the decoder fresh (ours).
Differs   1. Only the paper's abstract is known to us; that the first stage learns the tasks themselves is ours.
          2. Where only labels of the task serve (no further label, no denoising), unlabelled cases are not read.
          3. The network that is judged has the studied head alone.
Checked   tests/reference/test_ums_rep.py: stages, shares and roles with a fake Lab; the moved encoder is the first
          stage's bit for bit; share 0 is one stage; the network has one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.nets.network import Network
from allograft.objectives.multi_task import DENOISE, MultiTask
from allograft.procedures.link import require_known
from allograft.starts.full import Full
from allograft.tunings.full import FullTuning

__all__ = ["UMSRep"]


class UMSRep(Method):
    """Learn all tasks of a modality together, then fine-tune their heads together; needs objective: multi_task.

    Args:
        share: of the recipe's steps for the first stage, in [0, 1); 0 leaves it out.
        move: settings of the start "full" that carries the first stage's network over.
    """

    name: ClassVar[str] = "ums_rep"
    paper: ClassVar[Reference] = MultiTask.paper

    share: float = Field(default=0.5, ge=0, lt=1)
    move: Full = Full()

    def run(self, lab: Lab) -> Network:
        """Train "representation", then "finetune"; return the network of the studied head.

        Raises:
            ConfigError: the objective is another, or names labels or data sets that the study has not.
        """
        objective = lab.objective
        if not isinstance(objective, MultiTask):
            msg = f"ums_rep: the recipe's objective is {objective.name}; heads are trained together by multi_task."
            raise ConfigError(msg)
        tasks = _tasks(lab, objective)
        if not self.share:
            return lab.train("finetune", lab.start(tasks=tasks)).alone(lab.task.head)
        more = "unlabelled" in lab.cohorts and bool(objective.also or objective.denoise)
        net = lab.train(
            "representation",
            lab.start(tasks=tasks),
            objective=objective.model_copy(update={"unlabelled": more}),
            tuning=FullTuning(),
            share=self.share,
        )
        started = lab.start(source=lab.source(net, "representation"), start=self.move, tasks=tasks)
        return lab.train("finetune", started, share=1 - self.share).alone(lab.task.head)


def _tasks(lab: Lab, objective: MultiTask) -> Mapping[str, Task]:
    """Return what every head learns."""
    known = {task.head: task for task in lab.cohorts["train"].also}
    missing = [head for head in objective.also if head not in known]
    if missing:
        msg = (
            f'ums_rep: cases carry no further label "{missing[0]}" ({", ".join(known) or "none"}). Name its column '
            "under also: of the data set."
        )
        raise ConfigError(msg)
    if objective.on:
        require_known(lab, objective.on, who="ums_rep")
    tasks = {lab.task.head: lab.task, **{head: known[head] for head in objective.also}}
    tasks |= {name: lab.cohorts[name].task for name in objective.on}
    if objective.denoise:
        if not lab.net.decoder:
            msg = 'ums_rep: denoising judges every element, which needs a decoder: set net.decoder, for example "unet".'
            raise ConfigError(msg)
        tasks[DENOISE] = Task(kind="restoration", classes=("image",), head=DENOISE)
    return tasks
