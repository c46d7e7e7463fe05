"""Unlabelled: the training cases whose label a run may not use."""

from __future__ import annotations

from collections.abc import Iterable

from allograft.data.split import Fold

__all__ = ["without_label"]


def without_label(fold: Fold, labelled: Iterable[str]) -> tuple[str, ...]:
    """Return the training cases of a fold that are not in `labelled`.

    Cases, not groups: where labels of some cases of a patient are used, others of the same patient may be here, as
    in a clinic that has annotated part of its images. No group of validation or test is: that is the fold's promise.
    """
    used = set(labelled)
    return tuple(name for name in (*fold.train, *fold.unlabelled) if name not in used)
