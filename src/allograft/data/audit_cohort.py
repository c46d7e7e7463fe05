"""Problems of a cohort: classes, groups, splits, and what gives a class away without the image."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import chi2_contingency

from allograft.core.errors import DataError
from allograft.data.audit_result import Problem, problem
from allograft.data.cohort import Cohort
from allograft.data.laterality import sided_classes
from allograft.data.look import Look
from allograft.data.split import classes_of, fixed_split_leaks, folds, groups_by_class

__all__ = ["class_problems", "group_problems", "shortcut_problems", "side_problems", "split_problems"]

FEWEST = 3
"""Groups of a class without which train, validation and test cannot each have one."""

USUAL_FOLDS = 5
IMBALANCE = 10
UNITS = 6
"""Independent units below which a study's verdict is "cannot tell"."""


def class_problems(cohort: Cohort) -> Iterator[Problem]:
    """Yield classes that are too rare for a split, and lop-sided classes."""
    names = classes_of(cohort)
    members = _members(names)
    for name, count in groups_by_class(cohort.labelled()).items():
        ids = tuple(members.get(name, ()))
        where = f"class {name!r} has {len(ids)} case(s) in {count} group(s) ({cohort.unit})"
        if count < FEWEST and not any(case.split for case in cohort):
            text = f"{where}; train, validation and test need one group each. Add cases, or merge or drop the class."
            yield problem("error", "rare_class", text, ids)
        elif count < USUAL_FOLDS:
            yield problem("warning", "rare_class", f"{where}: at most {count} folds are possible.", ids)
    sizes = {name: len(members.get(name, ())) for name in cohort.task.classes if members.get(name)}
    if sizes and cohort.task.kind != "multilabel" and max(sizes.values()) > IMBALANCE * min(sizes.values()):
        few, many = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        text = f"class {many!r} has {sizes[many] / sizes[few]:.0f} times the cases of {few!r}: accuracy would mislead."
        yield problem("warning", "imbalance", text)
    absent = len(cohort) - len(cohort.labelled())
    if absent:
        text = f"{absent} case(s) have no label: they are never tested, and only some recipes train on them."
        yield problem("warning", "unlabelled", text, tuple(c.id for c in cohort if cohort.task.head not in c.targets))


def _members(names: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = defaultdict(list)
    for case, classes in names.items():
        for name in classes:
            members[name].append(case)
    return members


def group_problems(cohort: Cohort) -> Iterator[Problem]:
    """Yield what makes cases look more independent than they are."""
    groups = cohort.groups
    if len(groups) < UNITS:
        text = f"{len(groups)} group(s) ({cohort.unit}): below {UNITS} a study's verdict is 'cannot tell'."
        yield problem("warning", "few_groups", text)
    for note in cohort.notes:
        if note.startswith("patients are unknown"):
            yield problem("warning", "unknown_groups", f"{note}. Name the patient's column, or a group_pattern.")
    shared = _shared_prefixes(cohort)
    if shared:
        ids = tuple(name for names in shared.values() for name in names)
        text = (
            f"{len(shared)} beginnings of file names occur in several groups. If they name patients, a split would "
            "put one patient on both sides. Set the group from the name (group_pattern) or check the column."
        )
        yield problem("warning", "name_prefix", text, ids).model_copy(update={"count": len(shared)})


def _shared_prefixes(cohort: Cohort) -> dict[str, list[str]]:
    """Return the cases by a name's first part, where it has a digit and lies in several groups."""
    cases: dict[str, list[str]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    for case in cohort:
        if case.image[0].row is not None:
            return {}
        match = re.match(r"([A-Za-z]*[-_]?\d+[A-Za-z]*)[-_. ]+\w", _stem(case.image[0].path))
        if match:
            cases[match.group(1)].append(case.id)
            groups[match.group(1)].add(case.group)
    if not 2 <= len(cases) <= 0.8 * len(cohort):
        return {}
    return {name: ids for name, ids in cases.items() if len(groups[name]) > 1}


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def split_problems(cohort: Cohort) -> Iterator[Problem]:
    """Yield what is wrong with splits that the data fix."""
    if not any(case.split for case in cohort):
        return
    leaks = fixed_split_leaks(cohort)
    if leaks:
        ids = tuple(name for parts in leaks.values() for names in parts.values() for name in names)
        text = f"{len(leaks)} group(s) ({cohort.unit}) lie in several fixed splits. Put each into one split."
        yield problem("error", "group_in_two_splits", text, ids).model_copy(update={"count": len(leaks)})
        return
    try:
        (fold,) = folds(cohort, FEWEST)
    except DataError as error:
        yield problem("error", "fixed_split", "The fixed splits cannot be used.", details=(str(error),))
        return
    names = classes_of(cohort)
    every = {name for classes in names.values() for name in classes}
    for part, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
        missing = sorted(every - {name for case in ids for name in names.get(case, ())})
        if missing:
            text = f"the fixed split {part!r} has no case of {', '.join(missing[:5])}. Move cases, or drop the column."
            yield problem("error", "class_missing_in_split", text)


def shortcut_problems(cohort: Cohort, looks: Sequence[Look]) -> Iterator[Problem]:
    """Yield what tells the class without looking at the image: site, size, file kind."""
    if cohort.task.kind not in {"binary", "multiclass"}:
        return
    label = {case: classes[0] for case, classes in classes_of(cohort).items()}
    facts: dict[str, dict[str, str]] = {
        "domain": {case.id: case.domain for case in cohort if case.domain},
        "image size": {item.id: item.size for item in looks},
        "file ending": {item.id: item.ending for item in looks},
        "channel count": {item.id: str(item.channels) for item in looks},
        "number type": {item.id: item.dtype for item in looks},
    }
    for name, fact in facts.items():
        found = _tells({case: value for case, value in fact.items() if case in label}, label)
        if found is not None:
            text = (
                f"the {name} alone tells the class of {found[0]:.0%} of cases (the most frequent class: "
                f"{found[1]:.0%}). A network may learn that instead of the disease; balance it, or test on new sites."
            )
            yield problem("warning", "shortcut", text)


def side_problems(cohort: Cohort) -> Iterator[Problem]:
    """Yield class names that say left or right: a mirrored image would have the wrong label."""
    sided = sided_classes(cohort.task.classes)
    if sided:
        text = (
            f"class names say a side of the body ({', '.join(sided[:4])}{', ...' if len(sided) > 4 else ''}): mirrored "
            "images would be labelled wrongly. A study leaves the presets' left-right flip out and refuses flips "
            "along the last axis; check that the headers of the files are right about left and right."
        )
        yield problem("warning", "laterality", text)


def _tells(fact: Mapping[str, str], label: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the accuracy of guessing by a fact, and without it, where the gain is large and not chance."""
    rare = {value for value, count in Counter(fact.values()).items() if count < 5}
    values = {case: "(rare)" if value in rare else value for case, value in fact.items()}
    rows, columns = sorted(set(values.values())), sorted({label[case] for case in values})
    if len(rows) < 2 or len(columns) < 2:
        return None
    table = np.zeros((len(rows), len(columns)))
    for case, value in values.items():
        table[rows.index(value), columns.index(label[case])] += 1
    best, base = table.max(axis=1).sum() / table.sum(), table.sum(axis=0).max() / table.sum()
    if best - base < 0.1 or float(chi2_contingency(table).pvalue) > 1e-3:
        return None
    return float(best), float(base)
