"""What every data set must keep; an author of one calls `check_dataset`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.preprocess import prepare
from allograft.data.split import folds, label_fraction
from allograft.datasets.dataset import Dataset

__all__ = ["check_dataset", "check_dataset_facts"]

_FACTS = {"name", "title", "licence", "reference", "origin", "unit", "task", "cases", "groups", "notes", "seen_as"}


def check_dataset(dataset: Dataset, *, n_folds: int = 3) -> None:
    """Hold a data set to its contract; its files must be reachable.

    Args:
        dataset: the data set.
        n_folds: splits are tried with so many folds, 0 for sets that are too small to be split.

    Raises:
        AssertionError: the sentence says which clause is broken.
    """
    check_dataset_facts(dataset)
    cohort = dataset.prepare()
    assert dataset.prepare() == cohort, "prepare() gives another cohort on the second call"
    dataset.validate(cohort)
    _check_cohort(dataset, cohort)
    _check_images(dataset, cohort)
    if n_folds:
        _check_splits(cohort, n_folds)
    _check_validation_says_no(dataset, cohort)


def check_dataset_facts(dataset: Dataset) -> None:
    """Check what is said of a data set, without fetching anything.

    Raises:
        AssertionError: the sentence says which clause is broken.
    """
    assert re.fullmatch(r"[a-z][a-z0-9_]*", dataset.name), f"{dataset.name!r} is no lower-case name"
    for field in ("title", "licence", "unit"):
        assert getattr(dataset, field), f"{dataset.name}: {field} is empty"
    assert dataset.reference.title, f"{dataset.name}: there is nothing to cite"
    card = dataset.card()
    missing = _FACTS - card.keys()
    assert not missing, f"{dataset.name}: the card lacks {sorted(missing)}"
    assert json.loads(json.dumps(card)) == card, f"{dataset.name}: the card is not plain JSON data"
    for field in ("name", "title", "licence", "unit"):
        assert card[field] == getattr(dataset, field), f"{dataset.name}: card and data set differ in {field}"


def _check_cohort(dataset: Dataset, cohort: Cohort) -> None:
    card = dataset.card()
    assert (cohort.name, cohort.unit) == (dataset.name, dataset.unit), "the cohort has another name or unit"
    assert cohort.task == dataset.task, "the cohort has another task"
    assert len(cohort) == card["cases"], f"{len(cohort)} cases, the card says {card['cases']}"
    assert len(cohort.groups) == card["groups"], f"{len(cohort.groups)} groups, the card says {card['groups']}"
    assert list(cohort.notes) == card["notes"], "the cohort's notes are not the card's: the report would lose them"
    assert list(cohort.seen_as) == card["seen_as"], "the cohort's seen_as is not the card's: overlap would be missed"


def _check_images(dataset: Dataset, cohort: Cohort) -> None:
    """Read and preprocess the first case of each group; images with masks may differ in shape."""
    shapes = set()
    for group in cohort.groups:
        case = next(case for case in cohort if case.group == group)
        image = read_channels(case.image)
        shapes.add(prepare(image, dataset.preprocess).shape)
        _check_mask(case, cohort, image.dims)
    alike = len(shapes) == 1 or cohort.task.kind == "segmentation"
    assert alike, f"after preprocessing, images differ in shape: {sorted(shapes)}"


def _check_mask(case: Case, cohort: Cohort, dims: int) -> None:
    """A mask lies on its image's grid and holds classes of the task, not background alone."""
    target = case.targets.get(cohort.task.head)
    if not isinstance(target, ImageRef):
        return
    labels = read_mask(target, onto=case.image[0], dims=dims).array
    assert labels.max() < len(cohort.task.classes), f"{case.id}: the mask holds class {labels.max()}"
    assert labels.max() > 0, f"{case.id}: the mask is all background"


def _check_splits(cohort: Cohort, n: int) -> None:
    for fold in folds(cohort, n):
        parts = [{cohort[name].group for name in part} for part in (fold.train, fold.val, fold.test)]
        shared = parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
        assert not shared, f"groups {sorted(shared)} are on two sides of a split"
        some = set(label_fraction(fold.train, cohort, 0.3, 0))
        more = set(label_fraction(fold.train, cohort, 0.6, 0))
        assert some < more < set(fold.train), "label fractions are not nested"


def _check_validation_says_no(dataset: Dataset, cohort: Cohort) -> None:
    first = cohort.cases[0]
    wrong: dict[str, Callable[[], Cohort]] = {
        "a missing case": lambda: replace(cohort, cases=cohort.cases[1:]),
        "a changed label": lambda: replace(cohort, cases=(_relabelled(cohort), *cohort.cases[1:])),
        "a case twice": lambda: replace(cohort, cases=(*cohort.cases, replace(first, id=first.id + "-again"))),
    }
    for what, make in wrong.items():
        try:
            dataset.validate(make())
        except DataError:
            continue
        msg = f"{dataset.name}: validate() does not notice {what}"
        raise AssertionError(msg)


def _relabelled(cohort: Cohort) -> Case:
    case, head = cohort.cases[0], cohort.task.head
    target = case.targets[head]
    if isinstance(target, ImageRef):
        return replace(case, targets={head: target._replace(path=target.path.with_name("another-mask"))})
    assert isinstance(target, int), "check_dataset() knows class labels and masks only"
    return replace(case, targets={head: (target + 1) % len(cohort.task.classes)})
