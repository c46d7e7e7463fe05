"""StreamSource: which images and masks one stream hands out, and what happens to them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.stream_spec import Another
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.data.normalise import Normaliser
from allograft.data.patch_stream import (
    IGNORED,
    Corner,
    check_patches,
    check_store,
    check_whole,
    read_cut,
    read_image,
)
from allograft.data.patches import Patches
from allograft.data.roster import Roster
from allograft.data.store import Store
from allograft.data.targets import mask_targets
from allograft.data.transforms.augment import Augment

__all__ = ["StreamSource"]


@dataclass(frozen=True, kw_only=True)
class StreamSource(Roster):
    """One stream of images.

    Args:
        store: holds (at least) the cohort's images.
        patches: hand out a patch of each image instead of the whole; masks are cut alike and hold -1,
            which no loss sees, outside the image.
        augment: acts on every image, or on every patch; masks follow. What a transform brings in from
            beyond the border is the same for both: reflected or repeated elements with their labels,
            or with `padding: zeros` the value 0 and the background.
        views: further copies of each image, each with its own draws; of patches, copies of the same
            patch, so that an objective may compare or restore them.
        view_augment: acts on the views; None is `augment`.
        in_place: make the views of the augmented image, not of the stored one, so that elements stay where they are
            wherever `view_augment` moves none.
        normalise: brings stored values to what the weights expect; acts last.
        like: name of another source: hand out the partner of each of its cases, in its order, of the same place and
            by the same draws; where a case has several (one of each domain), one is drawn.
        match: attributes in which partners agree besides their group.
        another: the partner is another case of the group, with draws of its own; None the case that shows the same.
    """

    store: Store
    patches: Patches | None = None
    augment: Augment = field(default_factory=Augment)
    views: int = 0
    view_augment: Augment | None = None
    in_place: bool = False
    normalise: Normaliser = field(default_factory=Normaliser)
    like: str = ""
    match: tuple[str, ...] = ()
    another: Another | None = None

    def check(self, name: str) -> None:
        """Refuse what could not work, before the first step.

        Raises:
            ConfigError: as `Roster`; or patches have other axes than the images, have no class to be
                centred on, or would carry labels of whole images.
            DataError: as `Roster`; or the store lacks a case or a mask, or images differ in size
                and there are no patches.
        """
        super().check(name)
        drawn = [task.head for task in self.masked if self.cohort.proposals is None]
        check_store(name, self.store, self.cohort.cases, drawn)
        if self.patches is None:
            check_whole(name, self.store)
            return
        flat = [task for task in self.heads if task.kind != "segmentation"]
        covered = self.store.uniform and all(
            p >= n for p, n in zip(self.patches.size, self.store.shape[1:], strict=True)
        )
        if self.labelled and flat and not covered:
            kinds = ", ".join(task.kind for task in flat)
            msg = (
                f"stream {name!r}: patches are parts of images, and a label of a whole image ({kinds}) need not hold "
                "for a part. Use whole images (preprocess.size, and patches as large), or segmentation tasks alone."
            )
            raise ConfigError(msg)
        check_patches(name, self.store, self.patches, self.cohort.cases, drawn)

    def settled(self) -> StreamSource:
        """Return the source with what its augmentation needs to know of the images: channels, and their neutral value.

        Raises:
            ConfigError: a transform that is named does nothing to images of so many channels.
        """
        known = self.store.channels, self.normalise.neutral
        views = self.view_augment and self.view_augment.for_channels(*known)
        return replace(self, augment=self.augment.for_channels(*known), view_augment=views)

    @property
    def masked(self) -> tuple[Task, ...]:
        """The tasks whose masks are handed out."""
        return tuple(task for task in self.heads if self.labelled and task.kind == "segmentation")

    def images(self, cases: Sequence[Case], corners: Sequence[Corner]) -> Tensor:
        """Return (B, C, *S) stored values: whole images, or the patches that begin at `corners`."""
        if self.patches is None:
            return torch.from_numpy(self.store.rows([case.id for case in cases]))
        out = np.empty((len(cases), self.store.channels, *self.patches.size), np.float32)
        for i, (case, corner) in enumerate(zip(cases, corners, strict=True)):
            out[i] = read_image(self.store, case.id, corner, self.patches.size)
        return torch.from_numpy(out)

    def masks(self, cases: Sequence[Case], task: Task, corners: Sequence[Corner]) -> tuple[Tensor, Tensor]:
        """Return (B, *S) long masks of the same places, zeros where absent, and (B,) whether they are there."""
        if self.patches is None and self.cohort.proposals is None:
            return mask_targets(cases, task, self.store)
        present = torch.tensor([task.head in case.targets for case in cases], dtype=torch.bool)
        read = self.cohort.proposals.mask if self.cohort.proposals else partial(_stored_mask, self.store, task.head)
        return self._cut(cases, corners, read, present, IGNORED, np.int64), present

    def weight(self, cases: Sequence[Case], corners: Sequence[Corner] = ()) -> Tensor | None:
        """Return the cases' weights (B,); of proposed masks what each element counts for, (B, *S); or None."""
        whole = super().weight(cases)
        if self.cohort.proposals is None or not self.masked:
            return whole
        present = torch.tensor([self.masked[0].head in case.targets for case in cases], dtype=torch.bool)
        each = self._cut(cases, corners, self.cohort.proposals.weight, present, 0, np.float32)
        return each if whole is None else each * whole.reshape(-1, *[1] * (each.ndim - 1))

    def _cut(
        self,
        cases: Sequence[Case],
        corners: Sequence[Corner],
        read: Callable[[str, tuple[slice, ...]], npt.NDArray[Any]],
        present: Tensor,
        outside: float,
        dtype: type[np.generic],
    ) -> Tensor:
        """Return (B, *S) of what `read` gives for each case's patch, or for the whole of it."""
        size = self.patches.size if self.patches else self.store.shape[1:]
        out = np.zeros((len(cases), *size), dtype)
        for i, case in enumerate(cases):
            corner = corners[i] if corners else (0,) * len(size)
            if present[i]:
                out[i] = read_cut(self.store, case.id, corner, size, partial(read, case.id), outside)
        return torch.from_numpy(out)

    def spacing(self, cases: Sequence[Case]) -> Tensor | None:
        """Return (B, dims) distances between elements, None without masks."""
        if not self.masked:
            return None
        return torch.tensor([self.store.placement(case.id).spacing for case in cases], dtype=torch.float32)


def _stored_mask(store: Store, head: str, name: str, inside: tuple[slice, ...]) -> npt.NDArray[np.int64]:
    return store.mask(name, head, inside)
