"""Score: what each start of a study promises, from features of training cases, before anything is trained.

Labels are read of training cases alone: those of the first test fold, without the cases that another fold tests on
where that leaves enough. The network is built, planned, applied and proven as in the first run of the recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from allograft.contracts import Started
from allograft.core.atomic import write_text
from allograft.core.config import Config, canonical_json
from allograft.core.errors import ConfigError, DataError
from allograft.core.private import hide
from allograft.core.seeds import seed_for
from allograft.data.cohort import Cohort
from allograft.data.split import label_fraction
from allograft.study.arm import Arm
from allograft.study.estimators import ESTIMATORS, Sample, chosen
from allograft.study.lab import RunLab
from allograft.study.outcome import RunKey
from allograft.study.prepared import Prepared
from allograft.study.run_arm import make_arm
from allograft.study.score_truth import with_truth
from allograft.study.scores import DataScores, Scores, StartScore, Value
from allograft.study.source_head import head_probabilities
from allograft.study.voxels import CASES, decoder_is_copied, voxel_sample
from allograft.train.features import encoder_hash

__all__ = ["score_study", "scored_cases"]

VERSION, MOST = 1, 2000
"""Version of the estimates on disk; cases of a classification that are looked at."""


class Known(Config):
    """Estimates of one start, as they lie on disk."""

    values: Mapping[str, Value]


@dataclass(frozen=True)
class Looked:
    """The cases whose images and labels are read."""

    cohort: Cohort
    share: float
    blind: bool
    notes: tuple[str, ...]


def score_study(
    prepared: Prepared,
    *,
    by: Sequence[str] = (),
    fraction: float | None = None,
    tick: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Scores:
    """Return estimates of every start on every studied data set; trains nothing and reads no test case.

    Args:
        prepared: the study; its cache keeps features and estimates.
        by: estimators, the first ranks; none takes all that fit, LogME first.
        fraction: share of the training labels, one of the study's; None takes the smallest, so that no recipe is
            chosen by labels that it will not have.
        tick: called with recipes done, recipes in all and the one under way.

    Raises:
        ConfigError: an estimator or the fraction is none of the study's.
        PlanError: a plan has problems or a transfer cannot be proven.
    """
    names = [data.name for data in prepared.study.datasets]
    estimators = chosen(tuple(by), {prepared.cohorts[name].task.kind for name in names})
    total, done = len(names) * len(prepared.study.recipes), 0
    tables = []
    for name in names:
        looked = scored_cases(prepared, name, fraction)
        fits = [e for e in estimators if prepared.cohorts[name].task.kind in ESTIMATORS[e].kinds]
        starts: dict[str, StartScore] = {}
        for recipe in prepared.study.recipes:
            tick(done, total, recipe.name)
            key, found = _of_recipe(prepared, recipe.name, looked, fits, starts)
            starts[key] = found
            done += 1
        tables.append(with_truth(prepared, _table(prepared, name, looked, list(starts.values()), fits)))
    tick(total, total, "")
    return Scores(study=prepared.study.study, by=estimators, metric=prepared.metric.title, tables=tuple(tables))


def scored_cases(prepared: Prepared, name: str, fraction: float | None = None) -> Looked:
    """Return the training cases that estimates may look at.

    Raises:
        ConfigError: the fraction is none of the study's.
    """
    shares = prepared.budgets(name)
    share = min(shares) if fraction is None else next((s for s in shares if np.isclose(s, fraction)), None)
    if share is None:
        msg = f"score: fraction {fraction} is none of the study's: {', '.join(f'{s:g}' for s in shares)}."
        raise ConfigError(msg)
    cohort, (first, *others) = prepared.cohorts[name], prepared.folds[name]
    seed = seed_for("fraction", name, 0, prepared.study.seeds[0])
    labelled = cohort.subset(label_fraction(first.train, cohort, share, seed, count=shares[share]))
    tested = {case for fold in others for case in fold.test}
    clean = labelled.where(lambda case: case.id not in tested)
    notes = [f"labels of {share:.0%} of the training cases of the first test fold, seed {prepared.study.seeds[0]}"]
    if tested and len(clean) and _classes(clean) == _classes(labelled):
        labelled = clean
        notes.append("cases that other folds test on were left out")
    blind = not tested & set(labelled.ids)
    if not blind:
        notes.append(
            "some of these cases are test cases of other folds: a choice by these estimates is not blind to them"
        )
    if labelled.task.kind != "segmentation" and len(labelled) > MOST:
        kept = label_fraction(labelled.ids, labelled, MOST / len(labelled), seed_for("score", name))
        labelled = labelled.subset(kept)
        notes.append(f"{len(labelled)} of them were drawn")
    if labelled.task.kind == "segmentation" and len(labelled) > CASES:
        notes.append(f"voxels of {CASES} of them were drawn")
    return Looked(labelled, share, blind, tuple(notes))


def _classes(cohort: Cohort) -> set[str]:
    """Return the labels that occur; masks say nothing here."""
    return {str(case.targets[cohort.task.head]) for case in cohort if cohort.task.kind in {"binary", "multiclass"}}


def _of_recipe(
    prepared: Prepared, recipe: str, looked: Looked, estimators: Sequence[str], known: Mapping[str, StartScore]
) -> tuple[str, StartScore]:
    """Score the start of one recipe; one that starts with the same encoder as another joins it."""
    begun = time.monotonic()
    study, cohort = prepared.study, looked.cohort
    key = RunKey(
        id="score", recipe=recipe, dataset=cohort.name, fold=0, seed=study.seeds[0], label_fraction=looked.share
    )
    with threadpool_limits(prepared.device.threads):
        arm = make_arm(prepared, key, cohort)
        started = RunLab(key=key, arm=arm, cohorts={"train": cohort}, where=prepared.folder / "work" / "score").start()
        identity = _identity(arm, started)
        if identity in known:
            same = known[identity]
            return identity, same.model_copy(update={"recipes": (*same.recipes, recipe)})
        facts = [VERSION, identity, arm.pool.store.index.key, [[c.id, str(sorted(c.targets.items()))] for c in cohort]]
        values, computed = _values(prepared, arm, started, cohort, canonical_json(facts), estimators)
    spent = time.monotonic() - begun - sum(value.seconds for value in values.values()) if computed else 0.0
    return identity, StartScore(
        recipes=(recipe,),
        start=study.recipe(recipe).start.name,
        source=study.recipe(recipe).source,
        encoder=study.recipe(recipe).net.encoder,
        values=values,
        seconds=max(spent, 0.0),
    )


def _identity(arm: Arm, started: Started) -> str:
    """Return what decides a start's features: the encoder, what enters it, and what else is taken from the source."""
    source = arm.source.card.name if arm.source else ""
    copied = arm.pool.patches is not None and decoder_is_copied(started)
    return canonical_json([encoder_hash(started.net), arm.pool.normalise.model_dump(mode="json"), source, copied])


def _values(
    prepared: Prepared, arm: Arm, started: Started, cohort: Cohort, facts: str, estimators: Sequence[str]
) -> tuple[dict[str, Value], bool]:
    """Return the estimates of one start, out of the cache where they were made before, and whether any was made."""
    path = prepared.folder / "cache" / "scores" / f"{Facts(text=facts).content_id()}.json"
    old = dict(Known.model_validate_json(path.read_text(encoding="utf-8")).values) if path.exists() else {}
    lacking = [name for name in estimators if name not in old]
    if lacking:
        pseudonyms = prepared.pseudonyms(cohort.name)
        sample = _sample(arm, started, cohort, seed_for("score", cohort.name, prepared.study.seeds[0]))
        old |= {name: _estimate(name, sample, pseudonyms) for name in lacking}
        write_text(path, Known(values=old).model_dump_json())
    return {name: old[name] for name in estimators}, bool(lacking)


class Facts(Config):
    """What decides an estimate; its content id names the file."""

    text: str


def _sample(arm: Arm, started: Started, cohort: Cohort, seed: int) -> Sample:
    """Return the features of a started network on training cases."""
    if arm.pool.patches is not None:
        with arm.device.session():
            return voxel_sample(started, arm.pool, cohort, seed)
    level = arm.features_of(started.net, cohort).take(cohort.ids)[-1]
    pooled = level.flatten(2).mean(2).double().numpy()
    probabilities, lacking = head_probabilities(arm.source, started.plan, pooled)
    return Sample(
        kind=cohort.task.kind,
        features=pooled,
        labels=np.asarray([case.targets[cohort.task.head] for case in cohort]),
        groups=np.unique([case.group for case in cohort], return_inverse=True)[1],
        probabilities=probabilities,
        lacking=lacking,
    )


def _estimate(name: str, sample: Sample, pseudonyms: Mapping[str, str]) -> Value:
    """Return one estimate, or why there is none."""
    begun = time.monotonic()
    try:
        value, reason = ESTIMATORS[name].value(sample), ""
    except DataError as error:
        value, reason = None, hide(str(error), pseudonyms)
    return Value(value=value, reason=reason, seconds=time.monotonic() - begun)


def _table(
    prepared: Prepared, name: str, looked: Looked, starts: Sequence[StartScore], estimators: Sequence[str]
) -> DataScores:
    """Rank the starts of one data set."""
    ranks: dict[str, dict[float, int]] = {}
    for estimator in estimators:
        known = {v for v in (start.values[estimator].value for start in starts) if v is not None}
        ranks[estimator] = {value: 1 + sum(other > value for other in _all(starts, estimator)) for value in known}
    ranked = [
        start.model_copy(
            update={"ranks": {e: ranks[e][v] for e in estimators if (v := start.values[e].value) is not None}}
        )
        for start in starts
    ]
    ranked.sort(key=lambda start: start.ranks.get(estimators[0], len(starts) + 1) if estimators else 0)
    return DataScores(
        dataset=name,
        label_fraction=looked.share,
        cases=len(looked.cohort),
        units=len(looked.cohort.groups),
        unit=looked.cohort.unit,
        starts=tuple(ranked),
        blind=looked.blind,
        notes=looked.notes,
    )


def _all(starts: Sequence[StartScore], estimator: str) -> list[float]:
    """Return the values of an estimator."""
    return [value for start in starts if (value := start.values[estimator].value) is not None]
