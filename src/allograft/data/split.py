"""Splits: groups stay whole, classes are spread evenly, subsets of labels are nested."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from allograft.core.errors import ConfigError, DataError
from allograft.core.seeds import seed_for
from allograft.data.case import Case
from allograft.data.cohort import Cohort

__all__ = ["Fold", "class_names", "classes_of", "fixed_split_leaks", "folds", "groups_by_class", "label_fraction"]

TRIES = 50
"""Seeds tried until every class is in every part; the groups are few where more are needed."""


class Fold(NamedTuple):
    """Ids of one fold, in the cohort's order; no group is in two of train, val and test.

    `unlabelled` are cases without a target whose group is in neither val nor test: they may be
    trained on, and nothing is judged on them.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()


def folds(cohort: Cohort, n: int = 5, seed: int = 0) -> tuple[Fold, ...]:
    """Split a cohort into `n` folds, or into the one that the data set fixes.

    Fold i tests on part i, validates on part i + 1 and trains on the rest, so each labelled case is
    tested once. Where the data fix test but not val, val is drawn from train, 1 group in `n`.

    Args:
        cohort: the cases; those without a label are never in val or test.
        n: number of folds, at least 3; unused where the data fix all three parts.
        seed: of the draw; the same seed gives the same folds.

    Raises:
        ConfigError: fewer than 3 folds.
        DataError: a class has fewer groups than folds, a group is in two fixed splits, or a fixed
            split is empty or incomplete.
    """
    labelled = cohort.labelled()
    if any(case.split for case in labelled):
        made: tuple[Fold, ...] = (_fixed(cohort, labelled, n, seed),)
    else:
        _check_n(n)
        parts = _parts(labelled, n, seed)
        made = tuple(_fold(cohort, labelled, parts, test=i, val=(i + 1) % n) for i in range(n))
    for fold in made:
        _check_disjoint(cohort, fold)
    return made


def _check_n(n: int) -> None:
    if n < 3:
        msg = f"folds: {n}, expected at least 3, so that train, validation and test are different cases."
        raise ConfigError(msg)


def _fold(cohort: Cohort, labelled: Cohort, parts: npt.NDArray[np.int64], *, test: int, val: int) -> Fold:
    """Return the fold of two parts; `parts` (N,) is the part of each labelled case."""
    role = {test: "test", val: "val"}
    return _assemble(cohort, [role.get(int(part), "train") for part in parts], labelled)


def _assemble(cohort: Cohort, roles: Sequence[str], labelled: Cohort) -> Fold:
    ids: dict[str, list[str]] = defaultdict(list)
    judged = set()
    for case, role in zip(labelled, roles, strict=True):
        ids[role].append(case.id)
        if role != "train":
            judged.add(case.group)
    known = set(labelled.ids)
    free = (c.id for c in cohort if c.id not in known and c.group not in judged and c.split in {"", "train"})
    return Fold(tuple(ids["train"]), tuple(ids["val"]), tuple(ids["test"]), tuple(free))


def _parts(labelled: Cohort, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the part (0 to n - 1) of each labelled case, each class in each part.

    Raises:
        DataError: a class has too few groups, or no draw reaches every part.
    """
    _check_groups(labelled, n)
    strata, groups = _strata(labelled), np.array([case.group for case in labelled])
    single = len(set(groups)) == len(groups)
    members = _members(labelled)
    for attempt in range(TRIES):
        state = seed_for("split", seed, attempt) % 2**32
        # One case a group: the plain splitter gives the same promise and is linear.
        kind = StratifiedKFold if single else StratifiedGroupKFold
        splitter = kind(n_splits=n, shuffle=True, random_state=state)
        parts = np.empty(len(labelled), dtype=np.int64)
        for i, (_, test) in enumerate(splitter.split(parts, strata, None if single else groups)):
            parts[test] = i
        if all(len(np.unique(parts[rows])) == n for rows in members.values()):
            return parts
    counts = ", ".join(f"{name} {count}" for name, count in groups_by_class(labelled).items())
    msg = (
        f"cohort {labelled.name}: no split into {n} parts keeps every class in every part (groups by class: "
        f"{counts}). Use fewer folds, or merge the rarest class."
    )
    raise DataError(msg)


def _check_groups(labelled: Cohort, n: int) -> None:
    if not len(labelled):
        msg = f"cohort {labelled.name}: no case has a label, so there is nothing to split."
        raise DataError(msg)
    total = len(labelled.groups)
    if total < n:
        msg = f"cohort {labelled.name}: {total} groups ({labelled.unit}) for {n} folds. Use at most {total} folds."
        raise DataError(msg)
    cases = classes_of(labelled)
    for name, count in groups_by_class(labelled).items():
        if count < n:
            size = sum(name in names for names in cases.values())
            msg = (
                f"cohort {labelled.name}: class {name!r} has {size} case(s) in {count} group(s) ({labelled.unit}), "
                f"fewer than {n} folds. Use at most {count} folds (3 or more), add cases, or merge or drop the class."
            )
            raise DataError(msg)


def classes_of(cohort: Cohort) -> Mapping[str, tuple[str, ...]]:
    """Return the classes that each labelled case counts for; for multilabel also "not X".

    Regression and segmentation have none.
    """
    task = cohort.task
    if task.kind in {"regression", "segmentation"}:
        return {}
    return {case.id: class_names(case, cohort) for case in cohort if task.head in case.targets}


def class_names(case: Case, cohort: Cohort) -> tuple[str, ...]:
    """Return the classes that one labelled case counts for."""
    target, classes = case.targets[cohort.task.head], cohort.task.classes
    if isinstance(target, tuple) and not hasattr(target, "path"):
        return tuple(name if bit else f"not {name}" for name, bit in zip(classes, target, strict=True))
    return (classes[int(target)],) if isinstance(target, int) else ()


def groups_by_class(cohort: Cohort) -> dict[str, int]:
    """Return how many groups hold each class; a class of the task without any has 0."""
    groups: dict[str, set[str]] = defaultdict(set)
    names = classes_of(cohort)
    for case in cohort:
        for name in names.get(case.id, ()):
            groups[name].add(case.group)
    if cohort.task.kind in {"regression", "segmentation"}:
        return {}
    expected = list(cohort.task.classes)
    if cohort.task.kind == "multilabel":
        expected += [f"not {name}" for name in cohort.task.classes]
    return {name: len(groups[name]) for name in expected}


def _members(cohort: Cohort) -> dict[str, list[int]]:
    """Return the rows that belong to each class."""
    rows: dict[str, list[int]] = defaultdict(list)
    names = classes_of(cohort)
    for i, case in enumerate(cohort):
        for name in names.get(case.id, ("",)):
            rows[name].append(i)
    return rows


def _strata(labelled: Cohort) -> npt.NDArray[np.int64]:
    """Return (N,) what to spread evenly: class; rarest positive label; tenth of the value; nothing."""
    head, kind = labelled.task.head, labelled.task.kind
    targets = [case.targets[head] for case in labelled]
    if kind == "segmentation":
        return np.zeros(len(targets), dtype=np.int64)
    values = np.asarray(targets)
    if kind == "regression":
        edges = np.quantile(values, np.linspace(0, 1, 11)[1:-1])
        return np.asarray(np.searchsorted(edges, values), dtype=np.int64)
    if kind != "multilabel":
        return values.astype(np.int64)
    return _rarest(values)


def _rarest(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (N,) the rarest label that is 1 in (N, L) labels, L where none is."""
    count = labels.sum(axis=0)
    rank = np.where(labels == 1, count, len(labels) + 1)
    none = labels.sum(axis=1) == 0
    return np.asarray(np.where(none, labels.shape[1], rank.argmin(axis=1)), dtype=np.int64)


def _fixed(cohort: Cohort, labelled: Cohort, n: int, seed: int) -> Fold:
    """Return the fold that the data fix, with val drawn from train where it is not fixed."""
    counts = Counter(case.split for case in labelled)
    if counts[""]:
        first = next(case.id for case in labelled if not case.split)
        msg = (
            f"cohort {cohort.name}: {counts['']} labelled cases have no split while others do, first {first!r}. "
            "Give every labelled case train, val or test, or drop the column."
        )
        raise DataError(msg)
    for part in ("train", "test"):
        if not counts[part]:
            msg = f"cohort {cohort.name}: the fixed splits have no {part} cases. Add them, or drop the split column."
            raise DataError(msg)
    leaks = fixed_split_leaks(cohort)
    if leaks:
        group, where = next(iter(leaks.items()))
        parts = "; ".join(f"{part}: {', '.join(ids[:3])}" for part, ids in where.items())
        msg = (
            f"cohort {cohort.name}: {cohort.unit} {group!r} is in {len(where)} fixed splits ({parts}). {len(leaks)} "
            f"group(s) leak. Put all cases of a {cohort.unit} into one split."
        )
        raise DataError(msg)
    roles = {case.id: case.split for case in labelled}
    if not counts["val"]:
        _check_n(n)
        train = labelled.where(lambda case: case.split == "train")
        drawn = _parts(train, n, seed)
        roles.update({case.id: "val" for case, number in zip(train, drawn, strict=True) if number == 0})
    return _assemble(cohort, [roles[case.id] for case in labelled], labelled)


def fixed_split_leaks(cohort: Cohort) -> dict[str, dict[str, list[str]]]:
    """Return the groups that lie in several fixed splits, with their cases by split."""
    where: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case in cohort:
        if case.split:
            where[case.group][case.split].append(case.id)
    return {group: dict(parts) for group, parts in where.items() if len(parts) > 1}


def _check_disjoint(cohort: Cohort, fold: Fold) -> None:
    """Verify the promise on the result itself, whatever made it."""
    groups = [{cohort[name].group for name in ids} for ids in (fold.train, fold.val, fold.test)]
    free = {cohort[name].group for name in fold.unlabelled}
    shared = (
        (groups[0] & groups[1])
        | (groups[0] & groups[2])
        | (groups[1] & groups[2])
        | (free & groups[1] | free & groups[2])
    )
    if shared or not all(groups):
        what = f"group {sorted(shared)[0]!r} is in two parts" if shared else "a part is empty"
        msg = f"cohort {cohort.name}: the split is wrong: {what}. Please report this."
        raise DataError(msg)


def label_fraction(
    ids: Iterable[str], cohort: Cohort, fraction: float, seed: int, *, count: int | None = None
) -> tuple[str, ...]:
    """Return the cases whose labels a run may use: a share of each class, at least one case of each.

    Cases, not groups, are drawn: the budget of a label is a case. Each case has a rank that
    depends on the seed and its id alone, so a smaller fraction is contained in every larger one.

    Args:
        ids: training cases; those without a label are never drawn.
        cohort: where they are from.
        fraction: share in (0, 1].
        seed: of the ranking.
        count: number of cases in place of the share; classes get their part of it, at least one case each.

    Returns:
        Ids in the cohort's order.

    Raises:
        ConfigError: the fraction is not in (0, 1].
        DataError: an id is not in the cohort.
    """
    if not 0 < fraction <= 1:
        msg = f"label fraction {fraction}: expected a share above 0 and at most 1."
        raise ConfigError(msg)
    labelled = cohort.subset(ids).labelled()
    if not len(labelled):
        return ()
    if count is not None:
        fraction = count / len(labelled)
    chosen: set[str] = set()
    strata = _strata(labelled)
    for stratum in np.unique(strata):
        members = [case.id for case, own in zip(labelled, strata, strict=True) if own == stratum]
        members.sort(key=lambda name: seed_for("label_fraction", seed, name))
        chosen.update(members[: max(1, int(np.floor(fraction * len(members) + 0.5)))])
    return tuple(name for name in labelled.ids if name in chosen)
