"""Pretext watch: how a pretext task goes on images that it does not learn from, and what its features are like.

Nothing is chosen by these numbers. Named as in the log of a stage:

held_out_NAME   each part of the loss (and the loss) on validation images
spread          mean deviation of the features of different images, each of length 1, in units of what features that
                point anywhere have: near 1 they use all directions, at 0 all images look alike (collapse)
alignment       mean squared distance of the features of two views of an image, where the task makes views
retrieval       share of views whose nearest view (cosine) is the other one of the image, where the task makes views
retrieval_chance  the same for features that say nothing; images of the same patient are not asked (see `retrieval`)
uniformity      log of the mean of exp(-2 d^2) over pairs of images (Wang, Isola, ICML 2020); lower is more even
knn, probe      balanced accuracy of 5 nearest neighbours and of a linear classifier, each case judged by other groups
                (patients); of labelled training and validation cases of a classification
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
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
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES
from allograft.study.pool import Pool
from allograft.train.device import Device
from allograft.train.loop import named_parts

__all__ = ["PretextWatch", "alignment", "retrieval", "spread", "uniformity"]

Array = npt.NDArray[np.float64]
BATCHES = 4
"""Held-out batches looked at (ours)."""
CASES = 256
"""Cases whose features are looked at, at most (ours)."""
TIED = 1e-9
"""Cosines that differ by less are the same: rounding must not decide which view is the nearest."""


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
        batches, net = self.batches(nets["net"]), criterion.result(nets)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            held = self._held_out(nets, criterion, batches)
        found = {f"held_out_{name}": value for name, value in held.items()}
        return {**found, **self._features(net, self._views(net, batches))}

    @property
    def front_up(self) -> bool:
        """Whether slices of its images are to be turned for people, as those of scans in millimetres are."""
        source = self.streams.sources[IMAGES]
        return source.store.placement(source.cohort.ids[0]).geometry.unit == "mm"

    def batches(self, net: Network) -> list[Mapping[str, Batch]]:
        """Return the held-out batches on a network's device."""
        where = next(net.parameters()).device
        found = (self.streams.at(step) for step in range(BATCHES))
        return [{name: part.to(where) for name, part in batch.items()} for batch in found]

    def _held_out(
        self, nets: Mapping[str, Network], criterion: Criterion, batches: Sequence[Mapping[str, Batch]]
    ) -> dict[str, float]:
        """Return the mean of each part over held-out batches, on copies in evaluation mode."""
        stand = {name: copy.deepcopy(net).eval() for name, net in nets.items()}
        judge = copy.deepcopy(criterion).eval()
        (first, *_) = (player.name for player in judge.players(stand))
        rows: dict[str, list[float]] = {}
        for number, batch in enumerate(batches):
            torch.default_generator.manual_seed(seed_for("held out", number))
            for name, value in named_parts(judge(stand, batch, Progress(number, BATCHES), first)):
                rows.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in rows.items()}

    def _features(self, net: Network, views: Mapping[str, float]) -> dict[str, float]:
        """Return what the deepest features are like, those of views too, and what a simple classifier makes of them."""
        cases = self.cases.subset(self.cases.ids[:: -(-len(self.cases) // CASES)])
        told = self.pool.features(net, cases, self.device, -1).astype(np.float64)
        found = {"spread": spread(told), "uniformity": uniformity(told), **views}
        if self.pool.task.kind in {"binary", "multiclass"}:
            truth = np.array([case.targets[self.pool.task.head] for case in cases], dtype=np.int64)
            for name, judge in (("knn", knn), ("probe", linear_probe)):
                with contextlib.suppress(DataError):  # too few groups of a class to ask others
                    found[name] = judge(told, truth, [case.group for case in cases])
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def _views(self, net: Network, batches: Sequence[Mapping[str, Batch]]) -> dict[str, float]:
        """Return what the features of two views of held-out images have in common; nothing where there are no views."""
        one, two, groups = list[Array](), list[Array](), list[str]()
        with evaluating(net):
            for batch in batches:
                given = batch[IMAGES]
                looks = [
                    look for look in (given.image, *(view.image for view in given.views)) if isinstance(look, Tensor)
                ]
                if len(looks) < 2:
                    return {}
                one.append(_pooled(net, looks[-2]))
                two.append(_pooled(net, looks[-1]))
                groups += given.groups or given.ids
        a, b = np.concatenate(one), np.concatenate(two)
        found = retrieval(a, b, groups)
        shares = {} if found is None else {"retrieval": found[0], "retrieval_chance": found[1]}
        return {"alignment": alignment(a, b), **shares}


def _pooled(net: Network, image: Tensor) -> Array:
    """Return (B, F) deepest features, averaged over positions."""
    return np.asarray(net.encode(image)[-1].float().flatten(2).mean(2).cpu().numpy(), np.float64)


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


def retrieval(a: Array, b: Array, groups: Sequence[str]) -> tuple[float, float] | None:
    """Return how often a view's nearest view is the other one of its image, and what chance gives.

    Every view asks the views of all other patients and the other view of its own image. Further images of the same
    patient are left out: a neighbouring slice may rightly be nearer, and to count it as right would be another
    question. Chance is the mean over views of 1 / (1 + 2 m), with m images of other patients. Of views that are equally
    near each counts in part, so features that are all alike give chance.

    Args:
        a: (N, d) features of the first views.
        b: (N, d) features of the second views, in the same order.
        groups: (N,) patients.

    Returns:
        Both shares, None where all images are of one patient.

    >>> retrieval(np.eye(3), np.eye(3), "pqr")
    (1.0, 0.2)
    """
    count, patients = len(a), np.unique(np.asarray(list(groups)), return_inverse=True)[1]
    others = patients[:, None] != patients[None]
    if not others.any():
        return None
    unit = _unit(np.concatenate([a, b]))
    near = np.where(np.tile(others, (2, 2)), unit @ unit.T, -np.inf)
    own = np.einsum("ij,ij->i", unit, np.roll(unit, count, axis=0))
    nearer, tied = (near > own[:, None] + TIED).any(1), (np.abs(near - own[:, None]) <= TIED).sum(1)
    right = np.where(nearer, 0.0, 1 / (1 + tied))
    return float(right.mean()), float((1 / (1 + 2 * others.sum(1))).mean())


def uniformity(features: Array) -> float:
    """Return log mean exp(-2 d^2) over pairs of features (N, d) of length 1; 0 where all are equal.

    >>> uniformity(np.ones((3, 4)))
    0.0
    """
    unit = _unit(features)
    distances = np.maximum(2 - 2 * unit @ unit.T, 0)[np.triu_indices(len(unit), 1)]
    return float(np.log(np.exp(-2 * distances).mean())) if len(distances) else 0.0
