"""Dataset: what every packaged data set offers; one file a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from allograft.core.config import Config
from allograft.core.errors import ConfigError, DataError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess

__all__ = ["Dataset", "class_counts", "with_settings"]


@runtime_checkable
class Dataset(Protocol):
    """A public data set that can be fetched, and that says what must be known of it.

    A data set with settings has a class attribute `Settings`, a Config, and takes one; `with_settings` makes it.

    Args:
        name: short name, as study files use it.
        title: what it is, in one line.
        licence: short name of the licence of images and labels.
        reference: the work to cite.
        unit: what one group is ("patient", "strip").
        task: what is to be predicted; settings may choose it.
        preprocess: what the data set recommends.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    reference: ClassVar[Reference]
    unit: ClassVar[str]
    preprocess: ClassVar[Preprocess]

    @property
    def task(self) -> Task:
        """What is to be predicted."""

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch what is not in the cache and return all cases; the same cohort on every call.

        Raises:
            DataError: an origin cannot be reached, or a file is not the one that was published.
        """

    def validate(self, cohort: Cohort) -> None:
        """Compare a prepared cohort with what the data set is known to hold.

        Raises:
            DataError: a count, a hash or the licence differs; says which.
        """

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports as plain JSON data; fetches nothing."""


def with_settings(known: type[Dataset], settings: Mapping[str, Any], *, where: str) -> Dataset:
    """Return a data set with what a study file says of it; without settings, its default.

    Raises:
        ConfigError: it has no settings, or one is unknown or wrong.
    """
    model: type[Config] | None = getattr(known, "Settings", None)
    if model is None:
        if settings:
            msg = f"{where}: {known.name} has no settings, got {', '.join(settings)}. Remove them."
            raise ConfigError(msg)
        return known()
    make: Callable[..., Dataset] = known
    return make(model.from_data(dict(settings), where=where))


def class_counts(cohort: Cohort) -> dict[tuple[str, str], int]:
    """Return how many cases each (group, class name) has; multi-class and binary tasks.

    Raises:
        DataError: a case has no class index among the task's classes.
    """
    head, classes = cohort.task.head, cohort.task.classes
    counts: Counter[tuple[str, str]] = Counter()
    for case in cohort:
        target = case.targets.get(head)
        if not isinstance(target, int) or not 0 <= target < len(classes):
            msg = f"cohort {cohort.name}, case {case.id}: expected a class in 0..{len(classes) - 1}, got {target!r}."
            raise DataError(msg)
        counts[case.group, classes[target]] += 1
    return dict(counts)
