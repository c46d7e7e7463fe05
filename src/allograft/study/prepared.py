"""Prepared: a study joined with its data, machine and weights, checked before the first step."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from allograft import catalog
from allograft.core.atomic import write_text
from allograft.core.config import canonical_json
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.private import pseudonym, site_salt
from allograft.core.seeds import seed_for
from allograft.data.audit import Audit, audit
from allograft.data.cohort import Cohort
from allograft.data.split import Fold, folds
from allograft.data.store import Store
from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.study.data_spec import fingerprint, open_cohort
from allograft.study.facts import card_facts, cohort_card, data_facts, environment, recipe_words
from allograft.study.grid import Study
from allograft.study.outcome import RunKey
from allograft.study.sources import find_card, require_licence
from allograft.study.store import RunStore
from allograft.train.device import Device
from allograft.weights.contamination import contamination_notes

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
        cohorts: by data set.
        folds: by data set, the test folds in use.
        stores: by data set, decoded images.
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
    device: Device
    metric: Metric
    salt: str
    base: Path

    def runs(self) -> list[RunKey]:
        """Return every run of the study."""
        identity = {name: self._identity(name) for name in self.cohorts}
        return list(self.study.keys(identity, {name: len(found) for name, found in self.folds.items()}))

    def pseudonyms(self, name: str) -> dict[str, str]:
        """Return the pseudonym of every id and group of a data set."""
        cohort = self.cohorts[name]
        return {real: pseudonym(real, self.salt) for real in dict.fromkeys((*cohort.ids, *cohort.groups))}

    def _identity(self, name: str) -> dict[str, Any]:
        """Return what besides the study file decides a run's numbers."""
        names = dict.fromkeys(r.source for r in self.study.recipes if r.source)
        return {
            "data": fingerprint(self.cohorts[name], self.stores[name].index.key),
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
    cohorts = {d.name: open_cohort(d, base=launch.base) for d in study.datasets}
    _require_licences(study, launch.base)
    warnings = [note for cohort in cohorts.values() for note in _contamination(study, cohort, launch.base)]
    identity = [{"name": name, "cases": len(c), "task": c.task.model_dump(mode="json")} for name, c in cohorts.items()]
    metric = _metric(study, cohorts)
    claim = {"study": study.study, "datasets": identity, "spec": spec, "device": device.model_dump(mode="json")}
    store.claim({**(old or {}), **claim})
    for name, cohort in cohorts.items():
        warnings += _audited(name, cohort, store, _salt(folder), progress)
    prepared = _assemble(study, folder, cohorts, (device, metric, launch.base.resolve()))
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
        "baseline": study.baseline,
        "threshold_share": THRESHOLD_SHARE,
        "recipes": {recipe.name: recipe_words(recipe) for recipe in study.recipes},
        "data": {name: data_facts(cohort, prepared.folds[name]) for name, cohort in cohorts.items()},
        "data_cards": [cohort_card(study, name, cohort) for name, cohort in cohorts.items()],
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
    cohorts = {d.name: open_cohort(d, base=base) for d in study.datasets}
    settled = (Device.model_validate(facts["device"]), METRICS[facts["metric"]], base)
    return _assemble(study, folder, cohorts, settled)


def _assemble(
    study: Study, folder: Path, cohorts: Mapping[str, Cohort], settled: tuple[Device, Metric, Path]
) -> Prepared:
    cut: dict[str, tuple[Fold, ...]] = {}
    for name, cohort in cohorts.items():
        found = folds(cohort, study.folds, seed_for("split", name))
        cut[name] = found[: study.test_folds] if study.test_folds else found
    stores = {n: Store.build(c, study.preprocess, folder / "cache" / "images") for n, c in cohorts.items()}
    device, metric, base = settled
    return Prepared(study, folder, cohorts, cut, stores, device, metric, _salt(folder), base)


def _salt(folder: Path) -> str:
    """Return the study's salt: the site's, kept with the study so that workers on other machines have it too."""
    path = folder / "private" / "salt"
    if not path.exists():
        write_text(path, site_salt())
        path.chmod(0o600)
    return path.read_text(encoding="utf-8")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(workers: int) -> int:
    """Share the machine's processors between the workers."""
    return max(1, processors() // max(1, workers))


def _require_licences(study: Study, base: Path) -> None:
    """Refuse weights whose licence is not accepted."""
    for recipe in study.recipes:
        if recipe.source:
            require_licence(find_card(recipe.source, base), study.accept_licence)


def _contamination(study: Study, cohort: Cohort, base: Path) -> list[str]:
    """Return what the weights have seen of the cohort."""
    sources = dict.fromkeys(recipe.source for recipe in study.recipes if recipe.source)
    cards = [find_card(source, base) for source in sources]
    return [note for card in cards for note in contamination_notes(cohort.name, cohort.seen_as, card)]


def _metric(study: Study, cohorts: Mapping[str, Cohort]) -> Metric:
    """Return the primary metric, checked against every task."""
    names = {study.primary_metric or cohort.task.primary_metric for cohort in cohorts.values()}
    if len(names) > 1:
        msg = f"the data sets have different primary metrics ({', '.join(sorted(names))}). Set primary_metric."
        raise ConfigError(msg)
    name = names.pop()
    if name not in METRICS:
        msg = f'primary_metric: no metric "{name}". {did_you_mean(name, METRICS)}'
        raise ConfigError(msg)
    for cohort in cohorts.values():
        if cohort.task.kind not in METRICS[name].kinds:
            fits = ", ".join(sorted(METRICS[name].kinds))
            msg = f'primary_metric: "{name}" fits {fits} tasks; {cohort.name} is {cohort.task.kind}.'
            raise ConfigError(msg)
    return METRICS[name]


def _write_ids(prepared: Prepared, store: RunStore) -> None:
    """Keep the map from pseudonyms to ids, in the study's folder and readable by its owner only."""
    path = store.folder / "private" / "ids.json"
    table = {n: {fake: real for real, fake in prepared.pseudonyms(n).items()} for n in prepared.cohorts}
    write_text(path, canonical_json(table))
    path.chmod(0o600)


def _audited(name: str, cohort: Cohort, store: RunStore, salt: str, progress: Callable[[int, int], None]) -> list[str]:
    """Look at every image once per folder; refuse data with errors, return warnings without ids.

    Raises:
        DataError: what would make the study wrong, with the cases.
    """
    path = (
        store.folder
        / "private"
        / f"audit-{name}-{hashlib.sha256(fingerprint(cohort, '').encode()).hexdigest()[:16]}.json"
    )
    if path.exists():
        found = Audit.model_validate_json(path.read_text(encoding="utf-8"))
    else:
        found = audit(cohort, progress=progress)
        if found.ok:
            write_text(path, found.model_dump_json())
    if not found.ok:
        shown = [f"{p.text} ({', '.join(p.cases[:3])})" if p.cases else p.text for p in found.errors[:8]]
        listed = "\n  ".join([*shown, *(d for p in found.errors[:3] for d in p.details[:3])])
        msg = f"data set {name}: {len(found.errors)} problems would make a study wrong.\n  {listed}"
        raise DataError(msg)
    return [f"{name}: {problem.text}" for problem in found.hidden(salt).problems]
