"""Admission: what data must pass before a study starts: the audit, a metric that fits, one task for seen and unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from allograft.core.atomic import write_text
from allograft.core.channel_names import canonical_channels
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.data.audit import Audit, audit
from allograft.data.cohort import Cohort
from allograft.data.preprocess import Preprocess
from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.study.data_spec import fingerprint
from allograft.study.grid import Study

__all__ = ["audited", "primary_metric", "require_channels", "require_same_task", "require_views"]


def primary_metric(study: Study, cohorts: Mapping[str, Cohort]) -> Metric:
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


def require_same_task(study: Study, cohorts: Mapping[str, Cohort]) -> None:
    """Refuse unseen data whose task is not that of every studied data set.

    Raises:
        ConfigError: names both.
    """
    for spec in study.unseen:
        for target in study.datasets:
            here, there = cohorts[spec.name].task, cohorts[target.name].task
            if (here.kind, here.classes) != (there.kind, there.classes):
                msg = (
                    f'unseen "{spec.name}": its task is {here.kind} of {list(here.classes)}, that of "{target.name}" '
                    f"{there.kind} of {list(there.classes)}. Name the same classes in the same order."
                )
                raise ConfigError(msg)


def require_views(study: Study, cohorts: Mapping[str, Cohort], dims: Mapping[str, int]) -> None:
    """Refuse crops of what cannot be cropped.

    Raises:
        ConfigError: names the data set.
    """
    for spec in study.datasets:
        kind = cohorts[spec.name].task.kind
        if study.views != "plain" and (kind == "segmentation" or dims[spec.name] != 2):
            what = "a segmentation" if kind == "segmentation" else f"of {dims[spec.name]}-D images"
            msg = f"views: {study.views} is for the classification of 2-D images; {spec.name} is {what}. Use plain."
            raise ConfigError(msg)


def require_channels(study: Study, cohorts: Mapping[str, Cohort], channels: Mapping[str, int]) -> None:
    """Refuse names of channels that do not fit the images, and data sets that have the same channels in other orders.

    Args:
        study: the study.
        cohorts: by data set.
        channels: by data set, how many its prepared images have; data sets that are not named are not looked at.

    Raises:
        ConfigError: names the data set.
    """
    for spec in study.data:
        if spec.channels and len(spec.channels) != channels.get(spec.name, len(spec.channels)):
            msg = (
                f'data set "{spec.name}": channels names {len(spec.channels)} ({", ".join(spec.channels)}), its images '
                f"have {channels[spec.name]}. Name each, in the order of the files."
            )
            raise ConfigError(msg)
    orders = {name: canonical_channels(cohort.channels) for name, cohort in cohorts.items()}
    for name, order in orders.items():
        for other, theirs in orders.items():
            if order != theirs and sorted(order) == sorted(theirs):
                msg = (
                    f'data sets "{name}" and "{other}" have the same channels in another order ({", ".join(order)}; '
                    f"{', '.join(theirs)}). One network reads both: put the files in the same order."
                )
                raise ConfigError(msg)


def audited(
    name: str,
    cohort: Cohort,
    folder: Path,
    salt: str,
    progress: Callable[[int, int], None],
    preprocess: Preprocess | None = None,
) -> list[str]:
    """Look at every image once per folder; refuse data with errors, return warnings without ids.

    Args:
        name: of the data set.
        cohort: the cases.
        folder: of the study.
        salt: of pseudonyms.
        progress: called while images are read.
        preprocess: of these images; what it settles is no problem.

    Raises:
        DataError: what would make the study wrong, with the cases.
    """
    looked_at = fingerprint(cohort, preprocess.content_id() if preprocess is not None else "")
    path = folder / "private" / f"audit-{name}-{hashlib.sha256(looked_at.encode()).hexdigest()[:16]}.json"
    if path.exists():
        found = Audit.model_validate_json(path.read_text(encoding="utf-8"))
    else:
        found = audit(cohort, progress=progress, preprocess=preprocess)
        if found.ok:
            write_text(path, found.model_dump_json())
    if not found.ok:
        shown = [f"{p.text} ({', '.join(p.cases[:3])})" if p.cases else p.text for p in found.errors[:8]]
        listed = "\n  ".join([*shown, *(d for p in found.errors[:3] for d in p.details[:3])])
        msg = f"data set {name}: {len(found.errors)} problems would make a study wrong.\n  {listed}"
        raise DataError(msg)
    return [f"{name}: {problem.text}" for problem in found.hidden(salt).problems]
