"""Pooled features: what a network's classifying head sees of source and target cases, and how a head is written."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from allograft.contracts import Lab
from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.nets.network import Network
from allograft.shallow.domains import Affine, Array
from allograft.shallow.logistic import Linear

__all__ = ["STAGE", "Gathered", "Known", "Scale", "gather", "scale_of", "write_linear"]

STAGE = "source"
KINDS = ("binary", "multiclass")


class Known(NamedTuple):
    """Labelled cases: features (n, F), classes (n,), and which are of the target (n,): the few of it with labels."""

    x: Array
    classes: npt.NDArray[np.int64]
    at_target: npt.NDArray[np.bool_]

    @property
    def source(self) -> Array:
        """Features of the source's cases."""
        return self.x[~self.at_target]


class Gathered(NamedTuple):
    """A network that has learnt the source, and what its head sees of everybody.

    Args:
        net: the network.
        train: labelled training cases.
        val: labelled validation cases.
        target: (n_t, F), features of the target's unlabelled cases.
    """

    net: Network
    train: Known
    val: Known
    target: Array


class Scale(NamedTuple):
    """(x - centre) / spread, both (F,)."""

    centre: Array
    spread: Array

    def __call__(self, x: Array) -> Array:
        """Return (n, F) for (n, F)."""
        return np.asarray((x - self.centre) / self.spread)


def scale_of(x: Array) -> Scale:
    """Return the z-score of samples; features that hardly vary among them (by 1e-6 of the widest) are only centred."""
    spread = x.std(0)
    return Scale(x.mean(0), np.where(spread > 1e-6 * spread.max(initial=0.0), spread, 1.0))


def gather(lab: Lab, who: str) -> Gathered:
    """Train the recipe's network on the labelled cases in a stage "source", and return what its head sees.

    Raises:
        ConfigError: the study has no target, the task is another than one of classes, the head sees more than one mean
            of all positions, or there is nothing to adapt from.
    """
    _require_suitable(lab, who)
    net = lab.train(STAGE, lab.start())
    target = lab.cohorts["target"]
    domains = {case.domain for case in target if case.domain}
    known = {role: _known(lab, net, lab.cohorts[role], domains) for role in ("train", "val")}
    return Gathered(net, known["train"], known["val"], _features(lab, net, target))


def write_linear(net: Network, head: str, model: Linear, through: Affine, scale: Scale) -> None:
    """Write a linear classifier of `through(scale(x))` into the head as one of the features x themselves."""
    rows = model.matrix @ through.matrix.T / scale.spread
    bias = model.bias + model.matrix @ through.shift - rows @ scale.centre
    linear: Any = net.heads[head].get_submodule("linear")
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(rows))
        linear.bias.copy_(torch.from_numpy(bias))


def _require_suitable(lab: Lab, who: str) -> None:
    task, spec = lab.task, lab.net
    if task.kind not in KINDS:
        hint = "Masks have voxel classifiers." if task.kind == "segmentation" else "Use an objective instead."
        msg = f"{who} fits a classifier of one class among several; this task is {task.kind}. {hint}"
        raise ConfigError(msg)
    if spec.pool != "mean" or spec.bag is not None:
        msg = (
            f'{who} fits one linear head on the mean of all positions; net.pool is "{spec.pool}", net.bag {spec.bag}. '
        )
        raise ConfigError(msg + "Leave both out.")
    if not len(lab.cohorts.get("target", ())):
        msg = f"{who} adapts to target cases, and this study has none. Give the data set a shift: {{source, target}}."
        raise ConfigError(msg)
    domains = {case.domain for case in lab.cohorts["target"] if case.domain}
    if all(case.domain in domains for case in lab.cohorts["train"]):
        msg = f"{who} adapts the source to the target, and the recipe learns from target cases alone. "
        raise ConfigError(msg + "Set learn: source, or both.")


def _known(lab: Lab, net: Network, cohort: Cohort, domains: set[str]) -> Known:
    """Return the labelled cases of a cohort."""
    cases = cohort.labelled()
    classes = [case.targets[lab.task.head] for case in cases]
    of_target = np.array([case.domain in domains for case in cases], dtype=bool)
    return Known(_features(lab, net, cases), np.array(classes, dtype=np.int64), of_target)


def _features(lab: Lab, net: Network, cohort: Cohort) -> Array:
    return np.asarray(lab.features(net, cohort), dtype=np.float64)
