"""Options that say which column of a user's data means what: the same words in every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allograft.data.class_folder import FolderSpec
    from allograft.data.manifest import ManifestSpec

__all__ = [
    "Group",
    "GroupPattern",
    "HideIds",
    "ImageColumn",
    "Label",
    "Mask",
    "Site",
    "Split",
    "folder_spec",
    "manifest_spec",
]

ImageColumn = Annotated[
    list[str] | None, typer.Option("--image", help="Column of the image's path; several are its channels.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="Column of the class; several are yes/no labels.")]
Mask = Annotated[str | None, typer.Option("--mask", help="Column of the mask's path, for a segmentation.")]
Group = Annotated[str | None, typer.Option("--group", help="Column of the patient, the independent unit.")]
Site = Annotated[str | None, typer.Option("--site", help="Column of the site or scanner.")]
Split = Annotated[str | None, typer.Option("--split", help="Column that fixes train, val or test.")]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        "--group-pattern",
        metavar="REGEX",
        help="For folders of classes: a regular expression whose first group is the patient.",
    ),
]
HideIds = Annotated[bool, typer.Option("--hide-ids", help="Write salted hashes instead of names and files.")]


def _one_or_all(names: list[str] | None) -> str | tuple[str, ...] | None:
    if not names:
        return None
    return names[0] if len(names) == 1 else tuple(names)


def manifest_spec(
    *,
    image: list[str] | None = None,
    label: list[str] | None = None,
    mask: str | None = None,
    group: str | None = None,
    site: str | None = None,
    split: str | None = None,
    classes: tuple[str, ...] = (),
) -> ManifestSpec:
    """Return the meaning of a table's columns."""
    from allograft.data.manifest import ManifestSpec

    return ManifestSpec(
        image=_one_or_all(image),
        label=_one_or_all(label),
        mask=mask,
        group=group,
        domain=site,
        split=split,
        classes=classes,
    )


def folder_spec(group_pattern: str | None = None, classes: tuple[str, ...] = ()) -> FolderSpec:
    """Return how folders of classes are read."""
    from allograft.data.class_folder import FolderSpec

    return FolderSpec(group_pattern=group_pattern, classes=classes)
