"""Pretext watch: how a pretext task goes on images that it does not learn from, and what its features are like.

Nothing is chosen by these numbers. Named as in the log of a stage:

held_out_NAME   each part of the loss (and the loss) on validation images
spread          mean deviation of the features of different images, each of length 1, in units of what features that
                point anywhere have: near 1 they use all directions, at 0 all images look alike (collapse)
alignment       mean squared distance of the features of two views of an image, where the task makes views
uniformity      log of the mean of exp(-2 d^2) over pairs of images (Wang, Isola, ICML 2020); lower is more even
knn, probe      balanced accuracy of 5 nearest neighbours and of a linear classifier, each case judged by other groups
                (patients); of labelled training and validation cases of a classification
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.analysis.transferability.knn import knn
from allograft.analysis.transferability.linear_probe import linear_probe
from allograft.contracts import Criterion, Progress
from allograft.core.errors import DataError
from allograft.core.seeds import seed_for
from allograft.data.case import Batch
from allograft.data.cohort import Cohort
from allograft.data.streams import StoreStreams
from allograft.nets.network import Network
from allograft.study.pool import Pool
from allograft.train.device import Device
from allograft.train.loop import named_parts

__all__ = ["PretextWatch", "alignment", "spread", "uniformity"]

Array = npt.NDArray[np.float64]
BATCHES = 4
"""Held-out batches looked at (ours)."""
CASES = 256
"""Cases whose features are looked at, at most (ours)."""


@dataclass(frozen=True, kw_only=True)
class PretextWatch:
    """What is looked at in each row of a pretext stage.

    Args:
        pool: the data set.
        device: of the arithmetic.
        streams: validation images, as the task's stream "images" gives them.
        cases: labelled training and validation cases.
    """

    pool: Pool
    device: Device
    streams: StoreStreams
    cases: Cohort

    def look(self, nets: Mapping[str, Network], criterion: Criterion) -> dict[str, float]:
        """Return the numbers; networks, criterion and random states are left as they are."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            held = self._held_out(nets, criterion)
        found = {f"held_out_{name}": value for name, value in held.items()}
        return {**found, **self._features(criterion.result(nets))}

    def batches(self) -> list[Mapping[str, Batch]]:
        """Return the held-out batches."""
        return [self.streams.at(step) for step in range(BATCHES)]

    def _held_out(self, nets: Mapping[str, Network], criterion: Criterion) -> dict[str, float]:
        """Return the mean of each part over held-out batches, on copies in evaluation mode."""
        stand = {name: copy.deepcopy(net).eval() for name, net in nets.items()}
        judge = copy.deepcopy(criterion).eval()
        (first, *_) = (player.name for player in judge.players(stand))
        rows: dict[str, list[float]] = {}
        for number, batch in enumerate(self.batches()):
            torch.default_generator.manual_seed(seed_for("held out", number))
            for name, value in named_parts(judge(stand, batch, Progress(number, BATCHES), first)):
                rows.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in rows.items()}

    def _features(self, net: Network) -> dict[str, float]:
        """Return what the deepest features are like, and what a simple classifier makes of them."""
        cases = self.cases.subset(self.cases.ids[:: -(-len(self.cases) // CASES)])
        training = net.training
        told = self.pool.features(net.eval(), cases, self.device, -1).astype(np.float64)
        net.train(training)
        found = {"spread": spread(told), "uniformity": uniformity(told)}
        views = [batch for step in self.batches()[:1] for batch in step.values() if batch.views]
        if views and isinstance(views[0].image, Tensor):
            shown = [views[0].views[0].image, views[0].views[1].image if len(views[0].views) > 1 else views[0].image]
            with torch.no_grad():
                pair = [net.encode(image)[-1].float().flatten(2).mean(2).cpu().numpy() for image in shown]
            found["alignment"] = alignment(*(each.astype(np.float64) for each in pair))
        if self.pool.task.kind in {"binary", "multiclass"}:
            truth = np.array([case.targets[self.pool.task.head] for case in cases], dtype=np.int64)
            for name, judge in (("knn", knn), ("probe", linear_probe)):
                with contextlib.suppress(DataError):  # too few groups of a class to ask others
                    found[name] = judge(told, truth, [case.group for case in cases])
        return {name: value for name, value in found.items() if np.isfinite(value)}


def _unit(features: Array) -> Array:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def spread(features: Array) -> float:
    """Return sqrt(d) times the mean deviation of the coordinates of (N, d) features of length 1.

    >>> spread(np.ones((4, 8))) < 1e-12
    True
    """
    return float(np.sqrt(features.shape[1]) * _unit(features).std(axis=0).mean())


def alignment(a: Array, b: Array) -> float:
    """Return the mean squared distance of features (N, d) of two views, each of length 1; 0 for equal ones, 4 at most.

    >>> alignment(np.eye(2), -np.eye(2))
    4.0
    """
    return float(np.square(_unit(a) - _unit(b)).sum(axis=1).mean())


def uniformity(features: Array) -> float:
    """Return log mean exp(-2 d^2) over pairs of features (N, d) of length 1; 0 where all are equal.

    >>> uniformity(np.ones((3, 4)))
    0.0
    """
    unit = _unit(features)
    distances = np.maximum(2 - 2 * unit @ unit.T, 0)[np.triu_indices(len(unit), 1)]
    return float(np.log(np.exp(-2 * distances).mean())) if len(distances) else 0.0
