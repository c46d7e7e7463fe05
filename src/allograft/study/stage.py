"""One training stage: the learning-rate search that every arm gets, then the training itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from allograft.contracts import Budget, Objective, Optim, Started, Tuning, Validate
from allograft.core.config import Config
from allograft.core.seeds import seed_for
from allograft.data.cohort import Cohort
from allograft.study.arm import Arm, is_judged
from allograft.study.pretext_pictures import draw_pretext
from allograft.train.history import History
from allograft.train.loop import Watch, fit
from allograft.train.training import Training
from allograft.weights.plan import TransferPlan

__all__ = ["Stage", "StageRecord", "train_stage"]


SAVE_SECONDS = 20.0
"""Least time between checkpoints (ours): a killed run loses at most this much, short runs write none."""


class StageRecord(Config):
    """What a stage did.

    Args:
        stage: its name.
        plan: with `learns` as trained.
        lr: the rate that was used.
        search: validation score of each candidate rate; empty where there was no search.
        search_steps: steps that the search used in all.
        history: of the training.
        notes: what a reader must know of this stage.
        data: names of the data sets that it read.
        steps: in all, the search included.
        proof: what was proven when the weights that it began with were written.
        objective: name of what a step minimised.
        began: of a pretext task, what was seen of held-out images before the first step.
    """

    stage: str
    plan: TransferPlan
    lr: float
    search: Mapping[str, float]
    search_steps: int
    history: History
    notes: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    steps: int = 0
    proof: str = ""
    objective: str = ""
    began: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is to be trained.

    Args:
        name: unique in the run.
        started: network and plan; the network is trained in place.
        partners: further networks that the objective trains beside it, by name.
        objective: what a step minimises.
        tuning: how the entries learn.
        cohorts: by role.
        steps: steps in all, the search included.
        seed: of this stage.
        folder: for checkpoints.
    """

    name: str
    started: Started
    partners: Mapping[str, Started]
    objective: Objective
    tuning: Tuning
    cohorts: Mapping[str, Cohort]
    steps: int
    seed: int
    folder: Path

    @property
    def nets(self) -> Mapping[str, Started]:
        """All networks by name; the one that is judged and handed on is "net"."""
        return {"net": self.started, **self.partners}


def train_stage(stage: Stage, arm: Arm) -> StageRecord:
    """Search the rate on validation inside the stage's steps, then train; the network changes in place.

    Each candidate trains for an equal part of the search's share and is scored once, at its end; of
    equal scores the smaller rate is taken. A stage without labels is not validated: it takes the recipe's
    own rate and keeps its last weights.
    """
    judged, whole = is_judged(stage.objective), arm.recipe.budget
    candidates = arm.candidates() if judged else (arm.recipe.optim.lr,)
    each = arm.search.trial_steps(stage.steps) if judged else 0
    rest = arm.search.training_steps(stage.steps) if judged else stage.steps
    once = whole.model_copy(update={"steps": each, "evals": 1})
    scores: dict[float, float] = {}
    for lr in candidates if each else ():
        trial = {name: Started(copy.deepcopy(one.net), one.plan) for name, one in stage.nets.items()}
        where = stage.folder / f"search-{lr:g}"
        history = _train(stage, arm, trial, lr=lr, budget=once, where=where).history
        scores[lr] = history.rows[-1].validation["score"]
    lr = max(candidates, key=lambda rate: (scores.get(rate, 0.0), -rate))
    budget = whole.model_copy(update={"steps": rest})
    done = _train(stage, arm, stage.nets, lr=lr, budget=budget, where=stage.folder / "training")
    return StageRecord(
        stage=stage.name,
        plan=done.plan,
        lr=lr,
        search={f"{rate:g}": score for rate, score in scores.items()},
        search_steps=each * len(scores),
        history=done.history,
        notes=arm.stage_notes(stage.objective, stage.cohorts, done.plan),
        objective=stage.objective.name,
        began=done.began,
    )


class _Trained(NamedTuple):
    """One training: what happened, the plan as trained, and what a watch saw before the first step."""

    history: History
    plan: TransferPlan
    began: Mapping[str, float]


def _train(
    stage: Stage, arm: Arm, started: Mapping[str, Started], *, lr: float, budget: Budget, where: Path
) -> _Trained:
    """Fit once with one rate; what the criterion hands on lies in the network "net" afterwards."""
    nets = {name: one.net for name, one in started.items()}
    plans = {name: stage.tuning.learn(one.plan, budget.steps) for name, one in started.items()}
    for plan in plans.values():
        plan.require_sound()
    penalties = {name: stage.tuning.penalty(nets[name], plan) for name, plan in plans.items()}
    net, recipe = nets["net"], arm.recipe
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for("criterion", stage.seed))
        criterion = stage.objective.build(nets, stage.cohorts["train"].task)
    data = arm.data(stage.objective, stage.cohorts, net, plans["net"], seed=seed_for("order", stage.seed))
    training = Training(
        plans=plans,
        optim=Optim.model_validate({**recipe.optim.model_dump(), "lr": lr}),
        budget=budget,
        seed=seed_for("noise", stage.seed),
        device=arm.device,
        penalties={name: penalty for name, penalty in penalties.items() if penalty is not None},
        save_seconds=SAVE_SECONDS,
    )
    watch = data.watch
    validate: Validate | Watch | None = data.validate
    began: Mapping[str, float] = {}
    if watch is not None:
        validate = Watch(lambda: watch.look(nets, criterion))
        with arm.device.session():
            began = watch.look(nets, criterion)
    history = fit(nets, criterion, data.streams, training, validate=validate, where=where, callbacks=arm.callbacks)
    if watch is not None and arm.device.leads:
        draw_pretext(stage.folder, criterion, nets, watch.batches(net)[0], front_up=watch.front_up)
    if (final := criterion.result(nets)) is not net:
        net.load_state_dict(final.state_dict())
    return _Trained(history, plans["net"], began)
