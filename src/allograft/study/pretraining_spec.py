"""Pretraining: how an encoder learns from images without labels, outside of a study, as one set of frozen settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from allograft import catalog
from allograft.contracts import Budget, Objective, Optim, Start
from allograft.core.config import Config
from allograft.core.errors import did_you_mean
from allograft.core.named import Named
from allograft.data.class_folder import FolderSpec
from allograft.data.manifest import ManifestSpec
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.transforms.augment import Augment
from allograft.nets.spec import NetSpec
from allograft.objectives.pretext import Pretext

__all__ = ["ImagesSpec", "Pretraining", "pretext_names"]


class ImagesSpec(Config):
    """Which images, and what is known of each. Columns are of a table; None takes a usual name where it has one.

    Args:
        name: of the data set, as cards and warnings of contamination call it; "" takes the file's or folder's.
        image: column of the image's path; several are channels of one image.
        group: column of the patient.
        domain: column of the site or scanner.
        split: column that fixes train, val or test; images of "test" are left out, those of "val" are held out.
        id: column of the case's name.
        root: folder that relative paths start from.
        group_pattern: of a folder, a regular expression whose first group, in the path of a file below the folder, is
            the patient. Without it: the PatientID of DICOM files, else the folder that a file lies in.
        unit: what a group is.
        channels: what the channels mean, in order ("t1", "flair").
        without: studies (file or folder), tables or folders of images. Of a study the images of the cases that it tests
            are left out, of others all, and with them every image of the same patients.
        labels: whether classes that the data come with are looked at in the log (kNN, probe). Training reads none.
        skip_unreadable: leave out images that cannot be read, and list them, in place of an error.
    """

    name: str = ""
    image: str | tuple[str, ...] | None = None
    group: str | None = None
    domain: str | None = None
    split: str | None = None
    id: str | None = None
    root: str = "."
    group_pattern: str | None = None
    unit: str = "patient"
    channels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    labels: bool = False
    skip_unreadable: bool = False

    def manifest(self) -> ManifestSpec:
        """Return the meaning of a table's columns."""
        columns = {"name", "image", "group", "domain", "split", "id", "root", "unit"}
        return ManifestSpec(**self.model_dump(include=columns))

    def folder(self) -> FolderSpec:
        """Return how a folder is read."""
        return FolderSpec(group_pattern=self.group_pattern, unit=self.unit, name=self.name)


class Pretraining(Config):
    """How an encoder is pre-trained.

    Args:
        method: an objective that needs no labels: a name, or a name with its settings.
        net: the encoder: its name, or settings as a study has them; `dims` not given are those of the images.
        source: weights to begin with; None begins with fresh values.
        start: how these are carried over; None is "full" with a source and "scratch" without.
        optim: optimiser; no rate is searched, for nothing is chosen.
        budget: steps, cases in a step, looks at held-out images.
        augment: what images and views go through.
        preprocess: what is done to every image, laid over what a known data set recommends; else as in a study.
        patches: windows that are read from the images; None where all are of one size of at most 256 (3-D: 96) along
            an axis, and windows of a suggested size otherwise.
        held_out: share of the groups that nothing is learnt from, to look at, in (0, 0.5].
        seed: of every draw.
        images: which images.
        accept_licence: cards whose non-commercial licence is accepted.
    """

    method: Annotated[Objective, Named("objective")]
    net: NetSpec
    source: str | None = None
    start: Annotated[Start | None, Named("start")] = None
    optim: Optim = Optim()
    budget: Budget = Budget(steps=1000)
    augment: Augment = Augment(preset="views")
    preprocess: Preprocess | None = None
    patches: Patches | None = None
    held_out: float = Field(default=0.1, gt=0, le=0.5)
    seed: int = 0
    images: ImagesSpec = ImagesSpec()
    accept_licence: tuple[str, ...] = ()

    @field_validator("method", mode="before")
    @classmethod
    def _known(cls, method: object) -> object:
        name = method if isinstance(method, str) else None
        if name is not None and ":" not in name and name not in catalog.OBJECTIVES:
            known = pretext_names()
            msg = f'no method "{name}" that needs no labels. {did_you_mean(name, known)}'
            raise ValueError(msg)
        return method

    @field_validator("method")
    @classmethod
    def _needs_no_labels(cls, method: Objective) -> Objective:
        if not isinstance(method, Pretext):
            msg = f'"{method.name}" needs labels or other data. Without labels: {", ".join(pretext_names())}'
            raise ValueError(msg)  # noqa: TRY004 - pydantic places it in the file
        return method

    @field_validator("net", mode="before")
    @classmethod
    def _by_name(cls, net: object) -> object:
        return {"encoder": net} if isinstance(net, str) else net

    @field_validator("budget")
    @classmethod
    def _without_patience(cls, budget: Budget) -> Budget:
        if budget.patience is not None:
            msg = "patience does nothing: no validation chooses here. Leave it out"
            raise ValueError(msg)
        return budget

    @model_validator(mode="after")
    def _source_and_start(self) -> Self:
        if self.source is None and self.start is not None and self.start.name not in catalog.NEEDS_NO_SOURCE:
            msg = f'start "{self.start.name}" needs a source. Add one (allograft weights list)'
            raise ValueError(msg)
        if self.source is not None and self.start is not None and self.start.name == "scratch":
            msg = f'start "scratch" uses no weights, but source is "{self.source}". Remove one'
            raise ValueError(msg)
        return self

    def with_dims(self, dims: Literal[2, 3]) -> NetSpec:
        """Return the network for images of so many axes."""
        return self.net if "dims" in self.net.model_fields_set else self.net.model_copy(update={"dims": dims})


def pretext_names() -> list[str]:
    """Return the names of all objectives of the catalog that need no labels."""
    return [name for name, kind in catalog.OBJECTIVES.items() if isinstance(kind, type) and hasattr(kind, "tasks")]
