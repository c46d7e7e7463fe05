"""One training stage: the learning-rate search that every arm gets, then the training itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from allograft.contracts import Budget, Objective, Optim, Started, Tuning
from allograft.core.config import Config
from allograft.core.seeds import seed_for
from allograft.data.cohort import Cohort
from allograft.study.arm import Arm, is_judged
from allograft.train.history import History
from allograft.train.loop import fit
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
    """

    stage: str
    plan: TransferPlan
    lr: float
    search: Mapping[str, float]
    search_steps: int
    history: History
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is to be trained.

    Args:
        name: unique in the run.
        started: network and plan; the network is trained in place.
        objective: what a step minimises.
        tuning: how the entries learn.
        cohorts: by role.
        steps: steps in all, the search included.
        seed: of this stage.
        folder: for checkpoints.
    """

    name: str
    started: Started
    objective: Objective
    tuning: Tuning
    cohorts: Mapping[str, Cohort]
    steps: int
    seed: int
    folder: Path


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
        trial = Started(copy.deepcopy(stage.started.net), stage.started.plan)
        where = stage.folder / f"search-{lr:g}"
        history, _ = _train(stage, arm, trial, lr=lr, budget=once, where=where)
        scores[lr] = history.rows[-1].validation["score"]
    lr = max(candidates, key=lambda rate: (scores.get(rate, 0.0), -rate))
    budget = whole.model_copy(update={"steps": rest})
    history, plan = _train(stage, arm, stage.started, lr=lr, budget=budget, where=stage.folder / "training")
    return StageRecord(
        stage=stage.name,
        plan=plan,
        lr=lr,
        search={f"{rate:g}": score for rate, score in scores.items()},
        search_steps=each * len(scores),
        history=history,
        notes=arm.stage_notes(stage.objective, stage.cohorts, plan),
    )


def _train(
    stage: Stage, arm: Arm, started: Started, *, lr: float, budget: Budget, where: Path
) -> tuple[History, TransferPlan]:
    """Fit once with one rate."""
    net = started.net
    plan = stage.tuning.learn(started.plan, budget.steps)
    plan.require_sound()
    penalty = stage.tuning.penalty(net, plan)
    recipe = arm.recipe
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for("criterion", stage.seed))
        criterion = stage.objective.build({"net": net}, stage.cohorts["train"].task)
    data = arm.data(stage.objective, stage.cohorts, net, plan, seed=seed_for("order", stage.seed))
    training = Training(
        plans={"net": plan},
        optim=Optim.model_validate({**recipe.optim.model_dump(), "lr": lr}),
        budget=budget,
        seed=seed_for("noise", stage.seed),
        device=arm.device,
        penalties={} if penalty is None else {"net": penalty},
        save_seconds=SAVE_SECONDS,
    )
    history = fit({"net": net}, criterion, data.streams, training, validate=data.validate, where=where)
    return history, plan
