"""Case, Batch and their parts: the containers that data travel in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Batch", "Case", "ImageRef", "Target", "View"]


class ImageRef(NamedTuple):
    """Where one image lies: a file, or one entry of an array file.

    Args:
        path: the file, or the folder of a DICOM series.
        key: name of the array inside an .npz file.
        row: row of the array (first axis), None for the whole file.
        classes: of a mask, what counts in it and the class index that it means: the pixel's value
            ("255"), the segment's or structure's name, or the name of a file in a folder of masks.
            Empty where values are class indices.
    """

    path: Path
    key: str = ""
    row: int | None = None
    classes: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        row = "" if self.row is None else f"[{self.row}]"
        meaning = ", ".join(f"{name}={index}" for name, index in self.classes)
        return f"{self.path}{':' + self.key if self.key else ''}{row}{f' ({meaning})' if meaning else ''}"


Target = int | float | tuple[float, ...] | ImageRef
"""A class index, a value, a tuple of 0/1 labels (multi-label) or of probabilities, or a mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image with its labels.

    Args:
        id: unique in its cohort.
        image: one reference for each channel file; one file may hold all channels.
        targets: by head; an absent head is unlabelled.
        group: the independent unit (patient, strip, scan); never on both sides of a split.
        domain: scanner or site, "" where unknown.
        split: "train", "val" or "test" where the data set fixes it, else "".
        attributes: further columns, for subgroups.
    """

    id: str
    image: tuple[ImageRef, ...]
    targets: Mapping[str, Target] = field(default_factory=dict)
    group: str
    domain: str = ""
    split: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


class View(NamedTuple):
    """A further augmented copy of a batch's images: (B, C, *S), and the draws that made it."""

    image: Tensor
    draws: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images with their targets, ready for a step.

    Args:
        image: (B, C, *S), or the levels of a frozen encoder, each (B, c, *s) (feature cache).
        targets: by head: (B,) classes | (B, L) multi-label or soft | (B, *S) masks | dense.
        present: by head: (B,) bool; where False the target is absent and reaches no loss.
        weight: (B,) or (B, *S) weights of the loss, None for 1.
        spacing: (B, dims) distance between elements in mm (or pixels) before augmentation, slowest axis first;
            None where nobody asked (only streams of masks say it).
        views: further augmented copies.
        bag_index: (B,) which bag an instance belongs to, None where there are no bags.
        ids: case ids, B of them.
        groups: their patients (or other independent units), B of them; empty where nobody asked.
    """

    image: Tensor | tuple[Tensor, ...]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    present: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None
    spacing: Tensor | None = None
    views: tuple[View, ...] = ()
    bag_index: Tensor | None = None
    ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        image = self.image.to(device) if isinstance(self.image, Tensor) else tuple(x.to(device) for x in self.image)
        return Batch(
            image=image,
            targets={name: value.to(device) for name, value in self.targets.items()},
            present={name: value.to(device) for name, value in self.present.items()},
            weight=None if self.weight is None else self.weight.to(device),
            spacing=None if self.spacing is None else self.spacing.to(device),
            views=tuple(View(view.image.to(device), view.draws) for view in self.views),
            bag_index=None if self.bag_index is None else self.bag_index.to(device),
            ids=self.ids,
            groups=self.groups,
        )
