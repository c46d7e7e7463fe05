"""Arm: one recipe's settings joined with the data and device of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allograft.contracts import Objective, Streams, StreamSpec, Validate
from allograft.core.config import canonical_json
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.cohort import Cohort
from allograft.data.feature_streams import FeatureSource, FeatureStreams
from allograft.data.normalise import Normaliser
from allograft.data.predictions import Predictions
from allograft.data.store import Store
from allograft.data.streams import Roster, StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.infer.forward import predict
from allograft.metrics.log_loss import LogLoss
from allograft.metrics.metric import Metric
from allograft.nets.network import Network
from allograft.study.grid import Search
from allograft.study.recipe import Recipe
from allograft.train.device import Device
from allograft.train.features import FeatureCache, cache_features, encoder_frozen, feature_key
from allograft.weights.plan import TransferPlan
from allograft.weights.source import SourceWeights

__all__ = ["Arm", "StageData"]

CHUNK = 256
"""Cases in a forward pass without gradients."""


@dataclass(frozen=True)
class StageData:
    """What a stage reads: batches, and the score on validation."""

    streams: Streams
    validate: Validate


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A recipe on one data set.

    Args:
        recipe: the recipe.
        task: what is to be predicted.
        whole: all cases; only their images are looked at, for the feature cache.
        store: decoded images of the whole data set.
        normalise: from stored values to the input contract of the weights.
        device: resolved.
        source: opened weights, None for none.
        search: the learning-rate search.
        metric: the primary metric.
        select_by: "metric" or "loss".
        augment: what training images go through.
        cache: folder of feature caches.
    """

    recipe: Recipe
    task: Task
    whole: Cohort
    store: Store
    normalise: Normaliser
    device: Device
    source: SourceWeights | None
    search: Search
    metric: Metric
    select_by: str
    augment: Augment
    cache: Path

    @property
    def in_channels(self) -> int:
        """Channels of the data."""
        return self.store.shape[0]

    def candidates(self) -> tuple[float, ...]:
        """Return the learning rates to try; one means no search."""
        return self.search.lrs or (self.recipe.optim.lr,)

    def data(
        self, objective: Objective, cohorts: Mapping[str, Cohort], net: Network, plan: TransferPlan, *, seed: int
    ) -> StageData:
        """Return streams and validation for a stage; a frozen encoder's features come from the cache."""
        rosters = {name: self._roster(name, spec, cohorts) for name, spec in objective.streams().items()}
        if self.cached(plan):
            cache = self._features(net)
            ids, levels = tuple(cache.rows), cache.take(tuple(cache.rows))
            sources = {
                name: FeatureSource(**_fields(roster), ids=ids, levels=levels) for name, (roster, _) in rosters.items()
            }
            return StageData(FeatureStreams(sources, seed=seed), self._validate(cohorts["val"], cache))
        images = {
            name: StreamSource(
                **_fields(roster), store=self.store, augment=self.augment, views=views, normalise=self.normalise
            )
            for name, (roster, views) in rosters.items()
        }
        return StageData(StoreStreams(images, seed=seed), self._validate(cohorts["val"], None))

    def cached(self, plan: TransferPlan) -> bool:
        """Tell whether the stage trains on cached features: frozen encoder, images not augmented."""
        return not self.augment.steps and encoder_frozen(plan, self.recipe.budget.steps)

    def stage_notes(self, plan: TransferPlan) -> tuple[str, ...]:
        """Return what a reader must know of a stage."""
        if self.cached(plan):
            return ("The encoder is frozen: its features were computed once, from images without augmentation.",)
        return ()

    def predict(self, net: Network, cohort: Cohort, cache: FeatureCache | None = None) -> Predictions:
        """Predict every case once, without augmentation."""
        groups = {case.id: case.group for case in cohort}
        batches = self.batches(cohort) if cache is None else map(cache.fill, self.batches(cohort, images=False))
        with self.device.session():
            return predict(net, batches, self.task, groups=groups, precision=self.device.precision)

    def batches(self, cohort: Cohort, *, images: bool = True) -> Iterator[Batch]:
        """Yield the cases in order, normalised, with their targets."""
        roster = Roster(cohort=cohort, batch=CHUNK, tasks=(self.task,))
        for begin in range(0, len(cohort), CHUNK):
            cases = cohort.cases[begin : begin + CHUNK]
            ids = tuple(case.id for case in cases)
            targets, present = roster.numbers(cases)
            image = self.normalise(torch.from_numpy(self.store.rows(ids))) if images else torch.empty(len(ids), 0)
            yield Batch(image=image, targets=targets, present=present, ids=ids)

    def _roster(self, name: str, spec: StreamSpec, cohorts: Mapping[str, Cohort]) -> tuple[Roster, int]:
        """Return who comes in a stream, and how many views."""
        role, batch, views, labelled = spec
        if role not in cohorts:
            msg = (
                f'recipe "{self.recipe.name}": its objective reads a stream "{name}" of role "{role}", which this '
                f"study does not give; it gives {', '.join(sorted(cohorts))}."
            )
            raise ConfigError(msg)
        tasks = (self.task,) if labelled else ()
        batch = batch or self.recipe.budget.batch
        return Roster(cohort=cohorts[role], batch=batch, labelled=labelled, tasks=tasks), views

    def _features(self, net: Network) -> FeatureCache:
        """Return the features of the whole data set, made on first use and shared by folds and recipes."""
        view = canonical_json([self.store.index.key, self.normalise.model_dump(mode="json"), self.device.precision])
        ids, key = self.whole.ids, feature_key(net, view)
        with self.device.session():
            return cache_features(net, self.batches(self.whole), ids=ids, folder=self.cache, key=key)

    def _validate(self, cohort: Cohort, cache: FeatureCache | None) -> Validate:
        """Return the validation: the primary metric or the negative log loss decides, both are kept."""
        sign = 1.0 if self.metric.larger_is_better else -1.0

        def score(net: Network) -> Mapping[str, float]:
            found = self.predict(net, cohort, cache)
            loss, value = LogLoss().value(found), self.metric.value(found)
            chosen = -loss if self.select_by == "loss" else sign * value
            if not np.isfinite(chosen):
                msg = (
                    f"{self.metric.title} has no value on the {len(cohort)} validation cases of {cohort.name}: a class "
                    "is missing there. Use fewer folds, more cases, or select_by: loss."
                )
                raise DataError(msg)
            return {"score": chosen, self.metric.name: value, "log_loss": loss}

        return score


def _fields(roster: Roster) -> dict[str, Any]:
    return {field.name: getattr(roster, field.name) for field in fields(Roster)}
