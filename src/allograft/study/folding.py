"""Folding: the data sets of a study, how they are cut into folds, and which cases something is tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from allograft.core.seeds import seed_for
from allograft.data.cohort import Cohort
from allograft.data.split import Fold, folds
from allograft.study.data_spec import DataSpec, open_cohort, under_names
from allograft.study.grid import Study
from allograft.study.shift import shift_folds

__all__ = ["cut_folds", "open_cohorts", "tested_cases"]


def open_cohorts(study: Study, base: Path) -> dict[str, Cohort]:
    """Open every data set of a study, named as in the study; relative paths start from `base`."""
    found = {data.name: open_cohort(data, base=base) for data in study.data}
    return under_names(found, {data.name for data in study.auxiliary})


def cut_folds(study: Study, cohorts: Mapping[str, Cohort]) -> dict[str, tuple[Fold, ...]]:
    """Return the folds in use by data set: of studied data the test folds, of helping data one, of unseen data none."""
    cut = {d.name: _folds(d, cohorts[d.name], study.folds) for d in study.datasets}
    cut = {name: found[: study.test_folds] if study.test_folds else found for name, found in cut.items()}
    return cut | {d.name: _held_out(cohorts[d.name]) for d in study.auxiliary} | {d.name: () for d in study.unseen}


def tested_cases(
    study: Study, cohorts: Mapping[str, Cohort], cut: Mapping[str, Sequence[Fold]]
) -> dict[str, list[str]]:
    """Return the cases that something is tested on, by data set.

    Args:
        study: the study.
        cohorts: by data set.
        cut: what `cut_folds` returned.
    """
    found = {d.name: [case for fold in cut[d.name] for case in fold.test] for d in study.datasets}
    return found | {d.name: list(cohorts[d.name].ids) for d in study.unseen}


def _folds(spec: DataSpec, cohort: Cohort, n: int) -> tuple[Fold, ...]:
    seed = seed_for("split", spec.name)
    return shift_folds(cohort, spec.shift, n, seed) if spec.shift else folds(cohort, n, seed)


def _held_out(cohort: Cohort) -> tuple[Fold, ...]:
    """Return one fold of data that help: a fifth of the units validates; a single unit does both, for want of more."""
    units = len(cohort.groups)
    if units < 3:
        half = cohort.subset(c.id for c in cohort if c.group == cohort.groups[-1]).ids if units == 2 else cohort.ids
        rest = tuple(name for name in cohort.ids if name not in half) or cohort.ids
        return (Fold(train=rest, val=half, test=()),)
    cut = folds(cohort, min(5, units), seed_for("split", cohort.name))[0]
    return (Fold(train=(*cut.train, *cut.test), val=cut.val, test=()),)
