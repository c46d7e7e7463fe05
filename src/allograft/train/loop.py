"""The training loop: the only `optimizer.step()` in the package."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from allograft.contracts import Criterion, Loss, Progress, Streams, Validate
from allograft.core.atomic import write_text
from allograft.core.errors import NumericsError
from allograft.core.seeds import seed_for
from allograft.nets.network import Network
from allograft.train.callbacks import Callback
from allograft.train.checkpoint import Vault, load_modules, load_optimizers, module_tensors, optimizer_tensors
from allograft.train.device import Live
from allograft.train.history import History
from allograft.train.learning import Learning
from allograft.train.optim import Mover, build_movers
from allograft.train.step import Step, Turn
from allograft.train.supply import supply
from allograft.train.tracker import Tracker
from allograft.train.training import Training

__all__ = ["Watch", "fit", "named_parts"]


class Watch(NamedTuple):
    """Numbers for each row of the history by which nothing is chosen."""

    look: Callable[[], Mapping[str, float]]


def fit(
    nets: Mapping[str, Network],
    criterion: Criterion,
    streams: Streams,
    training: Training,
    *,
    validate: Validate | Watch | None = None,
    where: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Train `nets` and the criterion's own modules in place; put the best validated weights back.

    Args:
        nets: by name; plans already applied.
        criterion: the live objective.
        streams: batches, a function of the step.
        training: plans, optimiser, budget, seed, device.
        validate: scores `criterion.result(nets)`; None, and a watch, keep the last weights.
        where: folder for checkpoints. A run that was killed at any moment goes on from there; on the
            CPU its tensors are bit for bit those of a run that was never interrupted.
        callbacks: watchers.

    Returns:
        What happened; a finished run that is called again returns at once.

    Raises:
        PlanError: a network has no fitting plan, or nothing would learn.
        NumericsError: a loss is not finite; names step, parts and case ids.
        ResumeError: `where` holds another training.
    """
    with training.device.session() as live, torch.random.fork_rng(devices=live.rng_devices()):
        run = replace(_prepare(nets, criterion, training, live, where), validate=validate)
        with supply(streams, live, training.budget.steps) as given:
            _go(run, given, callbacks)
        if run.tracker.best_score is not None and run.tracker.best_step != run.tracker.step:
            load_modules(run.modules, live.from_first(lambda: run.vault.best(run.tracker.best_step)))
        return run.tracker.history()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the steps of one run share."""

    nets: Mapping[str, Network]
    criterion: Criterion
    training: Training
    live: Live
    forward: Callable[[Turn], Loss]
    learning: Learning
    movers: tuple[Mover, ...]
    tracker: Tracker
    vault: Vault
    where: Path | None
    validate: Validate | Watch | None = None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All modules with tensors of the run, by unique name."""
        return _modules(self.nets, self.criterion, self.training)


def _go(run: _Run, streams: Streams, callbacks: Sequence[Callback]) -> None:
    """Do the steps that are left."""
    total, evals, tracker = run.training.budget.steps, run.training.eval_steps(), run.tracker
    saved = time.monotonic()
    while tracker.step < total and not tracker.stopped:
        loss = _one_step(run, streams)
        for callback in callbacks:
            callback.after_step(Progress(tracker.step, total), loss)
        if tracker.step in evals:
            _close_row(run)
            for callback in callbacks:
                callback.after_row(tracker.history())
        due = tracker.step in evals or tracker.step % run.training.save_every == 0
        if due and time.monotonic() - saved >= run.training.save_seconds:
            _save(run)
            saved = time.monotonic()


def _modules(nets: Mapping[str, Network], criterion: Criterion, training: Training) -> dict[str, nn.Module]:
    """Return all modules with tensors, by unique name."""
    own = {f"net.{name}": net for name, net in nets.items()}
    return {**own, "criterion": criterion, **{f"penalty.{name}": m for name, m in training.penalties.items()}}


def _prepare(
    nets: Mapping[str, Network], criterion: Criterion, training: Training, live: Live, where: Path | None
) -> _Run:
    """Build optimisers, then restore the checkpoint where there is one."""
    learning = Learning(nets, training.plans)
    movers = build_movers(nets, criterion, learning, training.optim, training.budget.steps)
    for mover in movers:  # wrappers for several processes look at what asks for gradients now
        for parameter in mover.names:
            parameter.requires_grad_(True)
    forward = live.wrap(Step(nets, criterion, training.penalties))
    identity = {**training.identity(), "criterion": type(criterion).__name__}
    vault = Vault(where, identity, writes=live.rank == 0)
    vault.sweep()
    tracker = Tracker()
    if found := vault.load():
        tensors, state = found
        load_modules(_modules(nets, criterion, training), tensors)
        load_optimizers(movers, tensors)
        tracker = Tracker.load(state)
    learning.apply(tracker.step)
    return _Run(
        nets=nets,
        criterion=criterion,
        training=training,
        live=live,
        forward=forward,
        learning=learning,
        movers=movers,
        tracker=tracker,
        vault=vault,
        where=where,
    )


def _one_step(run: _Run, streams: Streams) -> float:
    """Do one step: every player's turns, then the criterion's own; return the first player's last loss."""
    step, tracker = run.tracker.step, run.tracker
    if step in run.learning.breakpoints():
        run.learning.apply(step)
    # Noise inside a step depends on seed, step and process, so a resumed run needs no generator's state.
    run.live.seed(seed_for("step", run.training.seed, step, run.live.rank))
    at = Progress(step, run.training.budget.steps)
    batch = run.live.place(streams.at(step))
    losses = []
    for mover in run.movers:
        for _ in range(mover.turns):
            parts = _update(run, mover, Turn(batch, at, mover.player))
        for name, value in parts.items():
            tracker.add(name if len(run.movers) == 1 else f"{mover.player}.{name}", value)
        losses.append(parts["loss"])
    run.criterion.after_step(run.nets, at)
    tracker.step += 1
    return losses[0]


def _update(run: _Run, mover: Mover, turn: Turn) -> dict[str, float]:
    """Move one player once; return its loss and parts."""
    for each in run.movers:  # a loss also leaves gradients on those who do not move now
        for parameter in each.names:
            parameter.grad = None
    mover.set_rates(turn.at.step, turn.at.total)
    loss = run.forward(turn)
    parts = dict(named_parts(loss))
    if not run.live.all_true(here=math.isfinite(parts["loss"])):
        raise _not_finite(run.where, turn, parts)
    run.live.backward(loss.total)
    if mover.optim.clip is not None:
        torch.nn.utils.clip_grad_norm_(mover.names, mover.optim.clip)
    mover.optimizer.step()
    return parts


def _close_row(run: _Run) -> None:
    """Validate, and keep the weights if they are the best so far."""
    tracker, step, validate = run.tracker, run.tracker.step, run.validate
    values, seen = dict[str, float](), dict[str, float]()
    if isinstance(validate, Watch):
        seen = run.live.from_first(lambda: dict(validate.look()))
    elif validate is not None:
        values = run.live.from_first(lambda: dict(validate(run.criterion.result(run.nets))))
    if validate is not None:
        run.learning.set_modes(min(step, run.training.budget.steps - 1))
    rate = run.movers[0].set_rates(step - 1, run.training.budget.steps)
    if tracker.close_row(rate, values, run.training.budget.patience, seen):
        run.vault.keep_best(step, module_tensors(run.modules))


def _save(run: _Run) -> None:
    """Write the checkpoint."""
    tensors = {**module_tensors(run.modules), **optimizer_tensors(run.movers)}
    run.vault.save(tensors, run.tracker.dump(), best_step=run.tracker.best_step)


def _not_finite(where: Path | None, turn: Turn, parts: Mapping[str, float]) -> NumericsError:
    """Return the error that names step, parts and cases, after saving them aside."""
    ids = {name: list(batch.ids) for name, batch in turn.batch.items()}
    aside = ""
    if where is not None:
        path = where / f"not-finite-step-{turn.at.step}.json"
        write_text(path, json.dumps({"step": turn.at.step, "player": turn.player, "parts": dict(parts), "ids": ids}))
        aside = f" All are listed in {path}."
    shown = "; ".join(f"{name}: {', '.join(some[:8])}{' ...' if len(some) > 8 else ''}" for name, some in ids.items())
    values = ", ".join(f"{name} = {value}" for name, value in parts.items())
    return NumericsError(
        f'step {turn.at.step} of {turn.at.total}, player "{turn.player}": the loss is not finite ({values}). '
        f"Cases: {shown}.{aside} Look at these images and targets; if they are sound, lower the learning rate "
        "or set optim.clip."
    )


def named_parts(loss: Loss) -> Iterator[tuple[str, float]]:
    """Yield the loss and its parts as numbers."""
    yield "loss", float(loss.total.detach())
    for name, part in loss.parts.items():
        yield name, float(part)
