"""Referenced: cases whose images and masks are the published files themselves, used where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.mask import read_mask
from allograft.datasets.dataset import Dataset

__all__ = ["check_referenced"]


def check_referenced(
    dataset: Dataset, cohort: Cohort, expected: Sequence[Case], counts: Mapping[str, Sequence[int]]
) -> None:
    """Compare a cohort with the cases that the data set makes, and each mask with the known counts.

    Args:
        dataset: whose cohort it is.
        cohort: to be checked.
        expected: all cases as prepare() makes them.
        counts: by case, elements of each class.

    Raises:
        DataError: a case, a group or a mask differs, or a class has another count; says which.
    """
    head = dataset.task.head
    known = {case.id: (case.image, case.targets.get(head), case.group) for case in expected}
    found = {case.id: (case.image, case.targets.get(head), case.group) for case in cohort}
    odd = [name for name in {**known, **found} if known.get(name) != found.get(name)]
    if odd:
        msg = (
            f"{dataset.name}: {len(odd)} cases are not those of the data set, first {odd[0]} (image, mask or group). "
            "Use the cohort as prepare() returns it."
        )
        raise DataError(msg)
    for case in expected:
        target = case.targets[head]
        assert isinstance(target, ImageRef), "a segmentation has masks"
        labels = read_mask(target, onto=case.image[0], dims=3).array
        got = np.bincount(labels.ravel(), minlength=len(dataset.task.classes)).tolist()
        if got != list(counts[case.id]):
            msg = f"{dataset.name}, {case.id}: classes have {got} voxels, expected {list(counts[case.id])}."
            raise DataError(msg)
