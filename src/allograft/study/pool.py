"""Pool: one data set as networks read it: its cases, prepared images, input contract and windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.task import Task
from allograft.data.case import Batch, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.drawn_store import with_masks
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.predictions import Predictions
from allograft.data.proposals import Proposals
from allograft.data.roster import Roster
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.infer.doubt import Passes, case_doubt, mask_doubt
from allograft.infer.features import image_features, windows_of
from allograft.infer.forward import predict
from allograft.infer.score_masks import Keep, Scoring, score_masks
from allograft.infer.views import Views
from allograft.metrics.mask_mean import MaskMean
from allograft.metrics.metric import Metric
from allograft.metrics.segmentation import MASK_METRICS
from allograft.nets.network import Network
from allograft.study.windows import input_shape
from allograft.train.device import Device
from allograft.train.features import FeatureCache

__all__ = ["Pool"]

Look = Literal["augment", "strong"]

CHUNK = 256
"""Cases in a forward pass without gradients."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A data set of a study, the one that is studied or one that helps it.

    Args:
        whole: all cases.
        store: their prepared images.
        normalise: from stored values to the input contract of the weights.
        metric: what validation on it is judged by.
        patches: windows of a segmentation, None for other tasks.
        views: what an image is predicted from, itself or ten crops.
    """

    whole: Cohort
    store: Store
    normalise: Normaliser
    metric: Metric
    patches: Patches | None = None
    views: Views = "plain"

    @property
    def task(self) -> Task:
        """What is predicted of its cases."""
        return self.whole.task

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *S) of what enters the network: a window of a segmentation, else a whole image."""
        return input_shape(self.store, self.patches)

    def with_masks(self, cohort: Cohort) -> Pool:
        """Return the data set with masks of cases that had none when it was opened."""
        return replace(self, store=with_masks(self.store, cohort))

    def stream(self, roster: Roster, augment: Augment, views: int, look: Look = "augment") -> StreamSource:
        """Return a stream of images with the cases and targets of `roster`."""
        strong = Augment(
            preset="strong" if self.patches is None else "photometric", flip_left_right=augment.flip_left_right
        )
        own = {field.name: getattr(roster, field.name) for field in fields(Roster)}
        return StreamSource(
            **own,
            store=self.store,
            augment=augment,
            views=views,
            view_augment=strong if look == "strong" else None,
            in_place=look == "strong" and self.patches is not None,
            normalise=self.normalise,
            patches=self.patches,
        )

    def predict(self, net: Network, cohort: Cohort, device: Device, cache: FeatureCache | None = None) -> Predictions:
        """Predict what is scored, without augmentation; masks on the prepared grid, by the primary metric."""
        with device.session():
            if self.patches is not None:
                assert isinstance(self.metric, MaskMean), "checked when the study was prepared"
                return score_masks([net], cohort, self._scoring(device, own=False, metrics=[self.metric.metric]))
        found = self.cases(net, cohort, device, cache)
        return found.of_groups() if self.task.score_by == "group" else found

    def cases(self, net: Network, cohort: Cohort, device: Device, cache: FeatureCache | None = None) -> Predictions:
        """Predict every case of a classification by itself; crops are made of images, features of them are not used."""
        groups = {case.id: case.group for case in cohort}
        cached = cache is not None and self.views == "plain"
        batches = self.batches(cohort, images=not cached)
        with device.session():
            filled = map(cache.fill, batches) if cached and cache is not None else batches
            return predict(net, filled, self.task, groups=groups, precision=device.precision, views=self.views)

    def judge(
        self,
        net: Network,
        cohort: Cohort,
        device: Device,
        keep: Keep = lambda case, labels, truth: None,
    ) -> Predictions:
        """Predict as a user gets it: masks on the grid of each case's own mask, by every metric.

        Args:
            net: the network.
            cohort: the cases.
            device: of the arithmetic.
            keep: given each case, its label map and its true mask; never called for other tasks.
        """
        if self.patches is None:
            return self.predict(net, cohort, device)
        with device.session():
            every = [metric() for metric in MASK_METRICS.values()]
            return score_masks([net], cohort, self._scoring(device, own=True, metrics=every), keep=keep)

    def features(self, net: Network, cohort: Cohort, device: Device, level: int) -> npt.NDArray[np.float32]:
        """Return (N, F), the mean over positions of a level of the encoder; of a segmentation, over windows too."""
        with device.session():
            if self.patches is None:
                return image_features(net, self._images(cohort), level)
            rows = []
            for case in cohort:
                image = self.normalise(torch.from_numpy(np.ascontiguousarray(self.store.image(case.id)))[None])[0]
                rows.append(image_features(net, windows_of(image, self.patches), level).mean(0))
            return np.stack(rows)

    def doubt(
        self, net: Network, cohort: Cohort, device: Device, measure: Measure, *, passes: int, seed: int
    ) -> npt.NDArray[np.float64]:
        """Return (N,), a measure of each case's probabilities; of a segmentation its mean over elements."""
        how: dict[str, Any] = {"passes": Passes(passes, seed), "precision": device.precision}
        with device.session():
            if self.patches is None:
                return case_doubt([net], self._images(cohort), self.task, measure, **how)
            rows = [
                mask_doubt([net], self._stored(case.id, net), self.task, measure, patches=self.patches, **how)
                for case in cohort
            ]
            return np.array(rows)

    def pictures(self, cohort: Cohort) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (H, W), the mean over channels of each stored image; of a volume the middle of its slowest axis."""
        for case in cohort:
            image = self.store.image(case.id).mean(axis=0)
            yield image[len(image) // 2] if image.ndim == 3 else image

    def _stored(self, name: str, net: Network) -> Tensor:
        image = self.normalise(torch.from_numpy(np.ascontiguousarray(self.store.image(name)))[None])[0]
        return image.to(next(net.parameters()).device)

    def _images(self, cohort: Cohort) -> Iterator[Tensor]:
        for batch in self.batches(cohort):
            assert isinstance(batch.image, Tensor), "plain images were asked for"
            yield batch.image

    def propose(self, net: Network, cohort: Cohort, device: Device, proposals: Proposals) -> Cohort:
        """Return the cases with the network's masks, on the prepared grid, as their targets."""
        assert self.patches is not None, "masks are proposed in a segmentation only"
        targets: dict[str, dict[str, ImageRef]] = {}
        with device.session():
            how = self._scoring(device, own=False, metrics=[])
            for case in cohort:
                labels, sure = how.with_confidence([net], case)
                targets[case.id] = {self.task.head: ImageRef(proposals.write(case.id, labels, sure))}
        return replace(cohort.with_targets(targets), proposals=proposals)

    def batches(self, cohort: Cohort, *, images: bool = True) -> Iterator[Batch]:
        """Yield the cases in order, normalised, with their targets; of a segmentation a window of each."""
        if self.patches is not None:
            yield from self._windows(cohort)
            return
        roster = Roster(cohort=cohort, batch=CHUNK, tasks=(self.task,))
        for begin in range(0, len(cohort), CHUNK):
            cases = cohort.cases[begin : begin + CHUNK]
            ids = tuple(case.id for case in cases)
            targets, present = roster.numbers(cases)
            image = self.normalise(torch.from_numpy(self.store.rows(ids))) if images else torch.empty(len(ids), 0)
            yield Batch(image=image, targets=targets, present=present, ids=ids)

    def _windows(self, cohort: Cohort) -> Iterator[Batch]:
        """Yield a few windows at a fixed seed: what layers are compared on."""
        assert self.patches is not None
        roster = Roster(cohort=cohort, batch=min(len(cohort), self.patches.batch), labelled=False)
        streams = StoreStreams({"look": self.stream(roster, Augment(), 0)}, seed=0)
        for step in range(-(-len(cohort) // roster.batch)):
            yield streams.at(step)["look"]

    def _scoring(self, device: Device, *, own: bool, metrics: Sequence[Any]) -> Scoring:
        assert self.patches is not None
        return Scoring(
            store=self.store,
            normalise=self.normalise,
            task=self.task,
            patches=self.patches,
            metrics=tuple(metrics),
            grid="own" if own else "stored",
            precision=device.precision,
        )
