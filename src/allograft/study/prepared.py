"""Prepared: a study joined with its data, machine and weights, checked before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from allograft import catalog
from allograft.core.atomic import write_text
from allograft.core.config import canonical_json
from allograft.core.errors import ConfigError
from allograft.core.private import pseudonym, site_salt
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.patches import Patches
from allograft.data.split import Fold
from allograft.data.store import Store
from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.study.admission import audited, primary_metric, require_channels, require_same_task, require_views
from allograft.study.data_spec import fingerprint
from allograft.study.facts import card_facts, cohort_card, data_facts, environment, recipe_words
from allograft.study.folding import cut_folds, open_cohorts, tested_cases
from allograft.study.grid import Study
from allograft.study.outcome import RunKey
from allograft.study.provenance import name_warnings, patient_warnings, require_licences
from allograft.study.shift import Shift
from allograft.study.sides import keep_sides
from allograft.study.sources import find_card
from allograft.study.store import RunStore
from allograft.study.windows import input_shape, windows
from allograft.train.device import Device, processors

__all__ = ["Launch", "Prepared", "load_prepared", "prepare", "processors"]

THRESHOLD_SHARE = 0.95
"""Steps-to-threshold counts to this share of the baseline's best validation score (ours)."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a study is set off.

    Args:
        base: folder that relative paths in the study start from.
        workers: processes that share the machine, >= 1.
        plugins: modules whose methods the study names, for workers.
        commands: how to repeat the study, for the report.
    """

    base: Path = Path()
    workers: int = 1
    plugins: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Everything that runs of a study share.

    Args:
        study: the study file.
        folder: the study's folder.
        cohorts: by data set; those that are studied, those that help, and those that are only tested on.
        folds: by data set, the test folds in use; of one that helps, a first fold to validate on; none where
            data are only tested on.
        stores: by data set, decoded images.
        patches: by data set, the windows of a segmentation, None for other tasks.
        device: resolved when the study was made.
        metric: the primary metric.
        salt: of pseudonyms.
        base: folder that relative paths start from.
    """

    study: Study
    folder: Path
    cohorts: Mapping[str, Cohort]
    folds: Mapping[str, tuple[Fold, ...]]
    stores: Mapping[str, Store]
    patches: Mapping[str, Patches | None]
    device: Device
    metric: Metric
    salt: str
    base: Path

    def runs(self) -> list[RunKey]:
        """Return every run of the study."""
        names = [data.name for data in self.study.datasets]
        cells = {n: [(fold, share) for fold in range(len(self.folds[n])) for share in self.budgets(n)] for n in names}
        return list(self.study.keys({name: self._identity(name) for name in names}, cells))

    def budgets(self, name: str) -> dict[float, int | None]:
        """Return the shares of the training labels that a data set is studied at, with their count where that is set.

        Raises:
            ConfigError: a count exceeds the labelled training cases of a fold.
        """
        if not self.study.label_counts:
            return dict.fromkeys(self.study.label_fractions)
        cohort = self.cohorts[name]
        least = min(len(cohort.subset(fold.train).labelled()) for fold in self.folds[name])
        if max(self.study.label_counts) > least:
            msg = f"label_counts: {max(self.study.label_counts)} asked, {name} has {least} labelled training cases."
            raise ConfigError(msg)
        return {count / least: count for count in self.study.label_counts}

    def shift(self, name: str) -> Shift | None:
        """Return the shift of a studied data set, None where its cases are of one kind."""
        return next(data.shift for data in self.study.datasets if data.name == name)

    def tests(self, name: str, fold: int) -> Cohort:
        """Return the cases that runs of a fold are judged on; under a shift those of the target."""
        shift, found = self.shift(name), self.cohorts[name].subset(self.folds[name][fold].test)
        return found.where(lambda case: shift.is_target(case.domain)) if shift else found

    def shape(self, name: str) -> tuple[int, ...]:
        """Return (C, *S) of what enters a network: a window of a segmentation, else a whole image."""
        return input_shape(self.stores[name], self.patches[name])

    def tested(self) -> dict[str, list[str]]:
        """Return the cases that something is tested on, by data set."""
        return tested_cases(self.study, self.cohorts, self.folds)

    def learnt_tasks(self) -> list[Task]:
        """Return the tasks of all data sets that something is learnt from."""
        return [self.cohorts[data.name].task for data in (*self.study.datasets, *self.study.auxiliary)]

    def pseudonyms(self, name: str) -> dict[str, str]:
        """Return the pseudonym of every id and group of a data set."""
        cohort = self.cohorts[name]
        return {real: pseudonym(real, self.salt) for real in dict.fromkeys((*cohort.ids, *cohort.groups))}

    def _identity(self, name: str) -> dict[str, Any]:
        """Return what besides the study file decides a run's numbers."""
        names = dict.fromkeys(r.source for r in self.study.recipes if r.source)
        helpers = [data.name for data in (*self.study.auxiliary, *self.study.unseen)]
        shift = self.shift(name)
        return {
            **({"shift": shift.model_dump(mode="json")} if shift else {}),
            "data": fingerprint(self.cohorts[name], self.stores[name].index.key),
            "others": {other: fingerprint(self.cohorts[other], self.stores[other].index.key) for other in helpers},
            "weights": {source: find_card(source, self.base).content_id() for source in names},
            "device": self.device.model_dump(mode="json"),
        }


def prepare(
    study: Study,
    folder: Path,
    *,
    launch: Launch,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Open data, check everything that can be wrong, claim the folder and write `study.json`.

    Args:
        study: the study.
        folder: its folder; made if absent, continued if it is this study's.
        launch: from where and by how many processes.
        progress: called while images are read.

    Raises:
        ConfigError, DataError, ResumeError, PlanError: what is wrong, before any training.
    """
    store = RunStore(folder)
    old = store.study() if (folder / "study.json").exists() else None
    device = Device.model_validate(old["device"]) if old else Device.resolve(threads=_threads(launch.workers))
    spec = {"study": study.model_dump(mode="json"), "base": str(launch.base.resolve()), "plugins": list(launch.plugins)}
    cohorts = open_cohorts(study, launch.base)
    require_licences(study, launch.base)
    warnings = name_warnings(study, cohorts, launch.base)
    studied = {d.name: cohorts[d.name] for d in study.datasets}
    identity = [{"name": name, "cases": len(c), "task": c.task.model_dump(mode="json")} for name, c in studied.items()]
    metric = primary_metric(study, studied)
    require_same_task(study, cohorts)
    warnings += keep_sides(study, {name: cohort.task for name, cohort in cohorts.items()})
    claim = {"study": study.study, "datasets": identity, "spec": spec, "device": device.model_dump(mode="json")}
    store.claim({**(old or {}), **claim})
    prepares = {data.name: data.preprocess or study.preprocess for data in study.data}
    for name, cohort in cohorts.items():
        warnings += audited(name, cohort, folder, _salt(folder), progress, prepares[name])
    prepared = _assemble(study, folder, cohorts, (device, metric, launch.base.resolve()))
    warnings += patient_warnings(study, cohorts, prepared.tested(), salt=prepared.salt, base=prepared.base)
    store.claim({**claim, **_facts(prepared), "commands": list(launch.commands), "warnings": warnings})
    _write_ids(prepared, store)
    return prepared


def _facts(prepared: Prepared) -> dict[str, Any]:
    """Return what judging and reporting need, so that neither opens data or weights again."""
    study, cohorts = prepared.study, prepared.cohorts
    sources = dict.fromkeys(recipe.source for recipe in study.recipes if recipe.source)
    return {
        "keys": [key.model_dump(mode="json") for key in prepared.runs()],
        "metric": prepared.metric.name,
        "margin": study.margin,
        "label_target": study.label_target,
        "baseline": study.baseline,
        "threshold_share": THRESHOLD_SHARE,
        "recipes": {recipe.name: recipe_words(recipe, study) for recipe in study.recipes},
        "data": {n: data_facts(c, prepared.folds[n], prepared.stores[n]) for n, c in cohorts.items()},
        "data_cards": [cohort_card(study, name, cohort) for name, cohort in cohorts.items()],
        "unseen": [data.name for data in study.unseen],
        "weight_cards": [card_facts(find_card(source, prepared.base)) for source in sources],
        "environment": environment(prepared.device),
    }


def load_prepared(folder: Path) -> Prepared:
    """Open a prepared study again, in a worker; data are opened once per process and study file."""
    return _loaded(folder, canonical_json(RunStore(folder).study()))


@lru_cache(maxsize=2)
def _loaded(folder: Path, text: str) -> Prepared:
    facts = json.loads(text)
    for module in facts["spec"]["plugins"]:
        catalog.allow_plugin(module)
    study = Study.model_validate(facts["spec"]["study"])
    base = Path(facts["spec"]["base"])
    cohorts = open_cohorts(study, base)
    settled = (Device.model_validate(facts["device"]), METRICS[facts["metric"]], base)
    return _assemble(study, folder, cohorts, settled)


def _assemble(
    study: Study, folder: Path, cohorts: Mapping[str, Cohort], settled: tuple[Device, Metric, Path]
) -> Prepared:
    cut = cut_folds(study, cohorts)
    where = folder / "cache" / "images"
    stores = {d.name: Store.build(cohorts[d.name], d.preprocess or study.preprocess, where) for d in study.data}
    require_views(study, cohorts, {name: store.dims for name, store in stores.items()})
    require_channels(study, cohorts, {name: store.channels for name, store in stores.items()})
    patches = windows(study, {n: c.task for n, c in cohorts.items()}, stores)
    device, metric, base = settled
    return Prepared(study, folder, cohorts, cut, stores, patches, device, metric, _salt(folder), base)


def _salt(folder: Path) -> str:
    """Return the study's salt: the site's, kept with the study so that workers on other machines have it too."""
    path = folder / "private" / "salt"
    if not path.exists():
        write_text(path, site_salt())
        path.chmod(0o600)
    return path.read_text(encoding="utf-8")


def _threads(workers: int) -> int:
    """Share the machine's processors between the workers."""
    return max(1, processors() // max(1, workers))


def _write_ids(prepared: Prepared, store: RunStore) -> None:
    """Keep the map from pseudonyms to ids, in the study's folder and readable by its owner only."""
    path = store.folder / "private" / "ids.json"
    table = {n: {fake: real for real, fake in prepared.pseudonyms(n).items()} for n in prepared.cohorts}
    write_text(path, canonical_json(table))
    path.chmod(0o600)
