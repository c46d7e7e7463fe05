"""Arm: one recipe's settings joined with the data and device of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from allograft.contracts import Objective, Paired, Streams, StreamSpec, Validate
from allograft.core.config import canonical_json
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.feature_streams import FeatureSource, FeatureStreams
from allograft.data.predictions import Predictions
from allograft.data.proposals import Proposals
from allograft.data.roster import Roster
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.metrics.log_loss import LogLoss
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, Pretext
from allograft.study.blind_choice import BlindChoice
from allograft.study.grid import Search
from allograft.study.pool import Pool
from allograft.study.pretext_watch import PretextWatch
from allograft.study.recipe import Recipe
from allograft.study.roles import role_missing, stream_counts
from allograft.study.tested_images import tested_notes
from allograft.train.callbacks import Callback
from allograft.train.device import Device
from allograft.train.features import FeatureCache, cache_features, encoder_frozen, feature_key
from allograft.weights.plan import TransferPlan
from allograft.weights.source import SourceWeights

__all__ = ["Arm", "StageData", "is_judged"]


@dataclass(frozen=True)
class StageData:
    """What a stage reads: batches, and the score on validation; None where no stream has labels to be judged by.

    `watch` looks at a pretext task, which nothing is chosen by.
    """

    streams: Streams
    validate: Validate | None
    watch: PretextWatch | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A recipe on one data set.

    Args:
        recipe: the recipe.
        pool: the data set that is studied.
        others: by name, data sets that help it and are never tested.
        device: resolved.
        source: opened weights, None for none.
        search: the learning-rate search.
        select_by: what validation decides by: "metric", "loss", or the rule of `blind`.
        blind: scores networks without labels of the target, where the recipe is to be chosen so.
        augment: what training images go through.
        cache: folder of feature caches.
        callbacks: watchers of every training.
    """

    recipe: Recipe
    pool: Pool
    others: Mapping[str, Pool] = field(default_factory=dict)
    device: Device
    source: SourceWeights | None
    search: Search
    select_by: str
    blind: BlindChoice | None = None
    augment: Augment
    cache: Path
    callbacks: tuple[Callback, ...] = ()

    @property
    def task(self) -> Task:
        """What is to be predicted."""
        return self.pool.task

    @property
    def in_channels(self) -> int:
        """Channels of the data."""
        return self.pool.store.channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the channels of the data mean, in order; empty where unknown."""
        return self.pool.whole.channel_names(self.in_channels)

    def candidates(self) -> tuple[float, ...]:
        """Return the learning rates to try; one means no search."""
        return self.search.lrs or (self.recipe.optim.lr,)

    def with_augment(self, augment: Augment | None) -> Arm:
        """Return the arm with other augmentation, None for its own; it mirrors only where the arm's own may."""
        if augment is None:
            return self
        may = augment.flip_left_right and self.augment.flip_left_right
        own = Augment(preset=augment.preset, flip_left_right=may, transforms=augment.transforms)
        return replace(self, augment=own)

    def score(self, net: Network, cohort: Cohort) -> float:
        """Return what validation says of a network: the primary metric or the negative log loss, larger is better."""
        return self._score(net, self.predict(net, cohort), cohort)["score"]

    def pool_of(self, cohort: Cohort) -> Pool:
        """Return the data set that a cohort's cases come from."""
        return self.others.get(cohort.name, self.pool)

    def data(
        self, objective: Objective, cohorts: Mapping[str, Cohort], net: Network, plan: TransferPlan, *, seed: int
    ) -> StageData:
        """Return streams and validation for a stage; a frozen encoder's features come from the cache."""
        specs, counts = objective.streams(), stream_counts(objective.streams(), self.recipe.budget.batch)
        rosters = {name: self._roster(name, spec, cohorts, counts[name]) for name, spec in specs.items()}
        if self.cached(plan, objective, [roster.cohort for roster in rosters.values()]):
            cache = self._features(net)
            ids, levels = tuple(cache.rows), cache.take(tuple(cache.rows))
            sources = {
                name: FeatureSource(**_fields(roster), ids=ids, levels=levels) for name, roster in rosters.items()
            }
            return StageData(FeatureStreams(sources, seed=seed), self._validate([cohorts["val"]], cache))
        images = self._sources(objective, rosters)
        read = [spec.role for spec in objective.streams().values() if spec.labelled]
        helping = [f"val:{role}" for role in read if f"val:{role}" in cohorts]
        judged = [cohorts[role] for role in (["val"] if "train" in read else helping or ["val"])]
        validate = self._validate(judged, None) if is_judged(objective) else None
        return StageData(StoreStreams(images, seed=seed), validate, self._watch(objective, cohorts, counts))

    def _sources(self, objective: Objective, rosters: Mapping[str, Roster]) -> dict[str, StreamSource]:
        """Return the streams of images of an objective."""
        specs = objective.streams()
        return {
            name: replace(
                self.pool_of(roster.cohort).stream(roster, self.augment, specs[name].views, specs[name].look),
                like=specs[name].like,
                match=specs[name].match,
                another=specs[name].another,
            )
            for name, roster in rosters.items()
        }

    def _watch(
        self, objective: Objective, cohorts: Mapping[str, Cohort], counts: Mapping[str, int]
    ) -> PretextWatch | None:
        """Return what looks at a pretext task on validation images, None for other objectives."""
        if not isinstance(objective, Pretext) or f"val:{IMAGES}" not in cohorts:
            return None
        held = {**cohorts, IMAGES: cohorts[f"val:{IMAGES}"]}
        rosters = {name: self._roster(name, spec, held, counts[name]) for name, spec in objective.streams().items()}
        streams = StoreStreams(self._sources(objective, rosters), seed=seed_for("pretext watch"))
        both = [cohorts[role] for role in ("train", "val")]
        seen = [cohort.labelled() for cohort in both] if any(len(cohort.labelled()) for cohort in both) else both
        cases = replace(seen[0], cases=(*seen[0].cases, *seen[1].cases))
        return PretextWatch(pool=self.pool, device=self.device, streams=streams, cases=cases)

    def cached(self, plan: TransferPlan, objective: Objective, read: Sequence[Cohort]) -> bool:
        """Tell whether a stage trains on cached features: whole images, not augmented, and a frozen encoder."""
        if self.pool.patches is not None or self.augment.steps or any(self.pool_of(c) is not self.pool for c in read):
            return False
        if isinstance(objective, Paired) or any(
            spec.views or spec.pixels or spec.like for spec in objective.streams().values()
        ):
            return False
        return encoder_frozen(plan, self.recipe.budget.steps)

    def stage_notes(self, objective: Objective, cohorts: Mapping[str, Cohort], plan: TransferPlan) -> tuple[str, ...]:
        """Return what a reader must know of a stage."""
        if self.cached(plan, objective, [cohorts[spec.role] for spec in objective.streams().values()]):
            return ("The encoder is frozen: its features were computed once, from images without augmentation.",)
        return tested_notes(cohorts, (spec.role for spec in objective.streams().values()))

    def predict(self, net: Network, cohort: Cohort, cache: FeatureCache | None = None) -> Predictions:
        """Predict every case once, without augmentation."""
        return self.pool_of(cohort).predict(net, cohort, self.device, cache)

    def propose(self, net: Network, cohort: Cohort, folder: Path, floor: float) -> Cohort:
        """Return the cases with the network's masks as targets, written into `folder`."""
        return self.pool_of(cohort).propose(net, cohort, self.device, Proposals(folder=folder, floor=floor))

    def _roster(self, name: str, spec: StreamSpec, cohorts: Mapping[str, Cohort], batch: int) -> Roster:
        """Return who comes in a stream, `batch` cases in a step."""
        role = spec.role
        if role not in cohorts:
            raise role_missing(f'recipe "{self.recipe.name}"', name, role, cohorts)
        return Roster(
            cohort=cohorts[role],
            batch=batch,
            labelled=spec.labelled,
            balance=spec.balance,
            tasks=self._handed_out(spec, cohorts[role]) if spec.labelled else (),
        )

    def _handed_out(self, spec: StreamSpec, cohort: Cohort) -> tuple[Task, ...]:
        """Return what a stream hands out targets for: the task, unless its cases have only further ones, and those."""
        known = {task.head: task for task in cohort.also}
        missing = [head for head in spec.heads if head not in known]
        if missing:
            msg = (
                f'recipe "{self.recipe.name}": cases of {cohort.name} carry no further target "{missing[0]}". '
                f"{did_you_mean(missing[0], known)} Name its column under also: of the data set."
            )
            raise ConfigError(msg)
        own = () if spec.heads and not len(cohort.labelled()) else (cohort.task,)
        return (*own, *(known[head] for head in spec.heads))

    def _features(self, net: Network) -> FeatureCache:
        """Return the features of the whole data set, made on first use and shared by folds and recipes."""
        pool = self.pool
        with self.device.session():
            ids, key = pool.whole.ids, feature_key(net, self._view())
            return cache_features(net, pool.batches(pool.whole), ids=ids, folder=self.cache, key=key)

    def features_of(self, net: Network, cohort: Cohort) -> FeatureCache:
        """Return the features of some cases, out of those of the whole data set where they are made; read no other."""
        whole = self.cache / feature_key(net, self._view())
        if whole.exists():
            return FeatureCache.open(whole)
        key, batches = feature_key(net, self._view(), *cohort.ids), self.pool.batches(cohort)
        with self.device.session():
            return cache_features(net, batches, ids=cohort.ids, folder=self.cache, key=key, trained_on=False)

    def _view(self) -> str:
        """Return what decides the features of a data set besides the encoder."""
        pool = self.pool
        return canonical_json([pool.store.index.key, pool.normalise.model_dump(mode="json"), self.device.precision])

    def _validate(self, cohorts: Sequence[Cohort], cache: FeatureCache | None) -> Validate:
        """Return the validation: the primary metric or the negative log loss decides; a mean over data sets."""

        def score(net: Network) -> Mapping[str, float]:
            each = [self._score(net, self.predict(net, cohort, cache), cohort) for cohort in cohorts]
            names = dict.fromkeys(name for one in each for name in one)
            return {name: float(np.mean([one[name] for one in each if name in one])) for name in names}

        return score

    def _score(self, net: Network, found: Predictions, cohort: Cohort) -> dict[str, float]:
        """Return the score that decides, larger is better, and what it is made of."""
        metric = self.pool_of(cohort).metric
        value = metric.value(found)
        scores, chosen = {metric.name: value}, value if metric.larger_is_better else -value
        if found.masks is None:
            scores["log_loss"] = LogLoss().value(found)
            chosen = -scores["log_loss"] if self.select_by == "loss" else chosen
        if self.blind is not None and self.pool_of(cohort) is self.pool:
            return {"score": self.blind.score(net, found, cohort), **scores}
        if not np.isfinite(chosen):
            msg = (
                f"{metric.title} has no value on the {len(cohort)} validation cases of {cohort.name}: a class "
                "is missing there. Use fewer folds, more cases, or select_by: loss."
            )
            raise DataError(msg)
        return {"score": chosen, **scores}


def is_judged(objective: Objective) -> bool:
    """Tell whether validation can judge a stage: one that reads no labels trains no head that could be scored."""
    return any(spec.labelled for spec in objective.streams().values())


def _fields(roster: Roster) -> dict[str, Any]:
    return {field.name: getattr(roster, field.name) for field in fields(Roster)}
