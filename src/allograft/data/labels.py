"""From label texts to a task and targets: one set of rules for every layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import ValidationError

from allograft.core.config import Config, config_error
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.task import Kind, Task
from allograft.data.case import Target

__all__ = ["LabelSpec", "Labels", "infer_task", "multilabel_task", "plain", "target_of", "yes_or_no"]

_YES = frozenset({"1", "yes", "y", "true", "t", "positive", "pos", "present"})
_NO = frozenset({"0", "no", "n", "false", "f", "negative", "neg", "absent"})
_NEGATIVE_WORDS = frozenset(_NO - {"n", "f"}) | {"normal", "benign", "healthy", "control", "none", "background"}
MANY = 50
"""More different labels than this look like an identifier or a measurement, not like classes."""

Labels = Sequence[str | None]
"""Label texts in the order of the cases, None where unlabelled."""


LabelKind = Literal["binary", "multiclass", "multilabel", "segmentation", "regression"]
"""Kinds of tasks that labels can be of."""


class LabelSpec(Config):
    """What the labels mean; every part may be left to be inferred.

    Args:
        kind: task kind; inferred as binary for two label values, multiclass for more, multilabel
            for several label columns.
        classes: class names in the order of the outputs; sorted where empty.
        positive: the positive class of a binary task.
        metric: primary metric, empty for the usual one.
        mask_values: for masks, the value of each class in the files; by default those that occur, ascending.
    """

    kind: LabelKind | None = None
    classes: tuple[str, ...] = ()
    positive: str | None = None
    metric: str = ""
    mask_values: tuple[int, ...] = ()


def plain(text: str) -> str | None:
    """Return a label's text without blanks, None where it is empty; 1.0 reads as 1.

    >>> plain(" 2.0 "), plain("nan"), plain("T2")
    ('2', None, 'T2')
    """
    text = text.strip()
    if text == "" or text.lower() in {"nan", "na", "n/a", "null"}:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and "_" not in text else text


def infer_task(labels: Labels, spec: LabelSpec, where: str) -> tuple[Task, tuple[str, ...]]:
    """Return the task of one label column, and notes on what was inferred.

    Args:
        labels: the texts as `plain` gives them.
        spec: what the user has fixed.
        where: file and column, for messages.

    Raises:
        DataError: no labels, a single class, or values that are not classes.
        ConfigError: the spec does not fit the values.
    """
    found = {label for label in labels if label is not None}
    if not found:
        msg = f"{where}: no case has a label. Give the column that holds the labels."
        raise DataError(msg)
    if spec.kind == "regression":
        return _task(spec, "regression", ("value",), where), ()
    classes = spec.classes or _sorted(found)
    if not spec.classes:
        _check_classes(found, len(labels), where)
    unknown = sorted(found - set(classes))
    if unknown:
        msg = f"{where}: label {unknown[0]!r} is none of the classes. {did_you_mean(unknown[0], classes)}"
        raise DataError(msg)
    kind = spec.kind or ("binary" if len(classes) == 2 else "multiclass")
    if kind != "binary":
        return _task(spec, kind, classes, where), ()
    ordered, note = _order_binary(classes, spec, where)
    return _task(spec, kind, ordered, where), note


def _check_classes(found: set[str], cases: int, where: str) -> None:
    if len(found) == 1:
        msg = f"{where}: all labels are {next(iter(found))!r}. A study needs at least two classes."
        raise DataError(msg)
    if len(found) > MANY or (len(found) > 10 and len(found) > 0.5 * cases):
        some = ", ".join(sorted(found)[:4])
        msg = (
            f"{where}: {len(found)} different labels ({some}, ...) in {cases} cases look like an identifier or a "
            "measurement. Name another column, list `classes`, or set kind: regression."
        )
        raise DataError(msg)


def _order_binary(classes: tuple[str, ...], spec: LabelSpec, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (negative, positive), and a note where the order is a guess."""
    if spec.positive is not None:
        if spec.positive not in classes:
            msg = (
                f"{where}: the positive class {spec.positive!r} does not occur. {did_you_mean(spec.positive, classes)}"
            )
            raise ConfigError(msg)
        return (*(name for name in classes if name != spec.positive), spec.positive), ()
    if spec.classes:
        return classes, ()
    negative = [name for name in classes if name.lower() in _NEGATIVE_WORDS]
    if len(negative) == 1:
        return (negative[0], *(name for name in classes if name != negative[0])), ()
    return classes, (f"the positive class is taken to be {classes[-1]!r}, the last by name; set `positive` to choose",)


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Sort as numbers where all are whole numbers, as text otherwise."""
    if all(name.lstrip("-").isdigit() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _task(spec: LabelSpec, kind: Kind, classes: tuple[str, ...], where: str) -> Task:
    try:
        return Task(kind=kind, classes=classes, metric=spec.metric)
    except ValidationError as error:
        raise config_error(error, where=where) from error


def multilabel_task(columns: Sequence[str], spec: LabelSpec, where: str) -> Task:
    """Return the task of several yes/no columns."""
    if spec.kind not in {None, "multilabel"} or spec.classes not in {(), tuple(columns)}:
        msg = f"{where}: several label columns are a multilabel task whose classes are the columns' names."
        raise ConfigError(msg)
    return _task(spec, "multilabel", tuple(columns), where)


def target_of(task: Task, label: str | None, where: str) -> Mapping[str, Target]:
    """Return a case's targets for one label text, empty where it is unlabelled.

    Raises:
        DataError: a measurement that is not a number.
    """
    if label is None:
        return {}
    if task.kind != "regression":
        return {task.head: task.classes.index(label)}
    try:
        return {task.head: float(label)}
    except ValueError as error:
        msg = f"{where}: {label!r} is not a number. Correct the value, or leave it empty."
        raise DataError(msg) from error


def yes_or_no(values: Mapping[str, str | None], task: Task, where: str) -> Mapping[str, Target]:
    """Return a case's targets from one text for each class of a multilabel task.

    Raises:
        DataError: a value is neither yes nor no, or only some of them are given.
    """
    texts = {name: values[name] for name in task.classes}
    if all(text is None for text in texts.values()):
        return {}
    bits = []
    for name, text in texts.items():
        if text is None or text.lower() not in _YES | _NO:
            got = "empty" if text is None else repr(text)
            msg = f"{where}, column {name}: {got}, expected 0 or 1 (all of a case's labels, or none). Correct it."
            raise DataError(msg)
        bits.append(int(text.lower() in _YES))
    return {task.head: tuple(bits)}
