"""Shallow transfer: what procedures share that adapt a classifier of a network's features, by weights or by a map."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from allograft.contracts import Lab
from allograft.core.errors import DataError
from allograft.nets.heads.kernel import KernelHead
from allograft.nets.network import Network
from allograft.procedures.pooled_features import STAGE, Gathered, Scale, gather, scale_of, write_linear
from allograft.shallow.domains import Affine, Array, LinearMapper, Weighter, effective_sample_size
from allograft.shallow.kernels import median_gamma, mmd_squared
from allograft.shallow.logistic import Labelled, Linear, choose_logistic
from allograft.shallow.tca import TCA
from allograft.starts.full import Full

__all__ = ["Asking", "by_components", "by_map", "by_weights"]

FEW = 0.1
"""Share of the source's cases below which an effective sample size is told to the reader (ours)."""


class Asking(NamedTuple):
    """Who asks for a classifier.

    Args:
        lab: the lab.
        who: the procedure.
        strengths: C of the logistic regression that validation chooses from.
    """

    lab: Lab
    who: str
    strengths: Sequence[float]


def by_weights(asking: Asking, weighter: Weighter) -> Network:
    """Fit the head on source cases weighted towards the target; labelled target cases weigh 1."""
    got = gather(asking.lab, asking.who)
    scale = scale_of(np.concatenate([got.train.source, got.target]))
    source, target = scale(got.train.source), scale(got.target)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        own = weighter.fit(source, target).weights_
    weights = np.ones(len(got.train.x))
    weights[~got.train.at_target] = own
    model = _chosen(asking, got, scale(got.train.x), scale(got.val.x), weights)
    width = source.shape[1]
    write_linear(got.net, asking.lab.task.head, model, Affine(np.eye(width), np.zeros(width)), scale)
    size, gamma = effective_sample_size(own), median_gamma(np.concatenate([source, target]))
    notes = [str(each.message) for each in said]
    if size < FEW * len(own):
        notes.append(f"{asking.who}: {len(own)} source cases weigh as much as {size:.1f} of equal weight.")
    facts: dict[str, float] = {
        "effective_sample_size": size,
        "largest_weight": float(own.max()),
        "mmd_before": mmd_squared(source, target, gamma),
        "mmd_after": mmd_squared(source, target, gamma, own),
    }
    _tell(asking, got, model, facts, notes)
    return got.net


def by_map(asking: Asking, mapper: LinearMapper, *, apart: bool) -> Network:
    """Fit the head on mapped source cases, and fold the target's map into it.

    Args:
        asking: who asks.
        mapper: finds the maps.
        apart: z-score each domain by itself, not both together.
    """
    got = gather(asking.lab, asking.who)
    both = scale_of(np.concatenate([got.train.source, got.target]))
    here, there = (scale_of(got.train.source), scale_of(got.target)) if apart else (both, both)
    source, target = here(got.train.source), there(got.target)
    mapper.fit(source, target)
    moved = [
        np.where(known.at_target[:, None], mapper.target_map_(there(known.x)), mapper.source_map_(here(known.x)))
        for known in (got.train, got.val)
    ]
    model = _chosen(asking, got, *moved)
    write_linear(got.net, asking.lab.task.head, model, mapper.target_map_, there)
    facts = _distances(both(got.train.source), both(got.target), mapper.source_map_(source), mapper.target_map_(target))
    note = f"{asking.who}: the network maps every image as one of the target, source validation cases too."
    _tell(asking, got, model, facts, [note])
    return got.net


def by_components(asking: Asking, tca: TCA) -> Network:
    """Fit a classifier of transfer components, and return a network with the kernel head that computes it."""
    got, lab = gather(asking.lab, asking.who), asking.lab
    scale = scale_of(np.concatenate([got.train.source, got.target]))
    source, target = scale(got.train.source), scale(got.target)
    tca.fit(source, target)
    model = _chosen(asking, got, tca.transform(scale(got.train.x)), tca.transform(scale(got.val.x)))
    facts = _distances(source, target, tca.transform(source), tca.transform(target))
    _tell(asking, got, model, {**facts, "anchors": len(tca.anchors_)}, [])
    spec = lab.net.model_copy(update={"anchors": len(tca.anchors_)})
    net = lab.start(source=lab.source(got.net, STAGE), net=spec, start=Full()).net
    _write_kernel(net, lab.task.head, model, tca, scale)
    return net.to(next(got.net.parameters()).device)


def _write_kernel(net: Network, head: str, model: Linear, tca: TCA, scale: Scale) -> None:
    written = net.heads[head]
    assert isinstance(written, KernelHead), "a network with anchors has one"
    values = {
        "centre": scale.centre,
        "scale": scale.spread,
        "anchors": tca.anchors_,
        "gamma": tca.gamma_,
        "dual": tca.vectors_ @ model.matrix.T,
        "bias": model.bias,
    }
    written.write(**{name: torch.as_tensor(value) for name, value in values.items()})


def _chosen(asking: Asking, got: Gathered, train: Array, val: Array, weights: Array | None = None) -> Linear:
    """Return the logistic regression of the samples as they are mapped that validation chooses.

    Raises:
        DataError: a class has no case, or the weights leave nothing of it.
    """
    given, held = Labelled(train, got.train.classes, weights), Labelled(val, got.val.classes)
    names = asking.lab.task.classes
    sums = np.bincount(given.classes, weights=weights, minlength=len(names))
    if (sums <= 0).any():
        why = "is missing" if weights is None else "is missing or weighs nothing, for none looks like the target"
        msg = f'{asking.who}: every labelled source case of class "{names[int(sums.argmin())]}" {why}. '
        raise DataError(msg + "Label more cases, use weights that spread further, or a map (coral).")
    return choose_logistic(given, held, classes=len(names), grid=asking.strengths)


def _distances(source: Array, target: Array, moved: Array, aim: Array) -> dict[str, float]:
    """Return the squared MMD between the domains before and after, each under the median width of its space."""
    pairs = {"before": (source, target), "after": (moved, aim)}
    return {f"mmd_{when}": mmd_squared(a, b, median_gamma(np.concatenate([a, b]))) for when, (a, b) in pairs.items()}


def _tell(asking: Asking, got: Gathered, model: Linear, facts: Mapping[str, float], notes: Sequence[str]) -> None:
    """Report what was fitted on what."""
    counts = {"source": float(len(got.train.source)), "target": float(len(got.target))}
    fit = {"strength": model.strength, "validation_log_loss": model.losses[model.strength]}
    said = {"note": " ".join(notes)} if notes else {}
    asking.lab.report("adaptation", {**counts, **fit, **facts, **said})
