"""Augment: the chain of transforms that a recipe names, as a preset or as a list.

In a study file: `augment: light`, `augment: {preset: light, flip_left_right: false}`, `augment: bigaug` (or with
another probability of each of its nine, `augment: {preset: bigaug, p: 0.3}`), or a list
`augment: [rotate90, {affine: {rotate: 20}}, {noise: {p: 0.3}}]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema
from torch import Tensor

from allograft.core.config import Config
from allograft.data.transforms.affine import Affine
from allograft.data.transforms.bigaug import BigAug
from allograft.data.transforms.blur import Blur
from allograft.data.transforms.crop import Crop
from allograft.data.transforms.cutout import Cutout
from allograft.data.transforms.elastic import Elastic
from allograft.data.transforms.flip import Flip
from allograft.data.transforms.intensity import Intensity
from allograft.data.transforms.modality_dropout import ModalityDropout
from allograft.data.transforms.noise import Noise
from allograft.data.transforms.rand_augment import RandAugment
from allograft.data.transforms.rotate90 import Rotate90
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["TRANSFORMS", "AnyTransform", "Augment"]

SHEAR = math.tan(math.radians(10))
"""Largest shear of the preset "geometric": 10 degrees, in pixels per pixel (the magnitudes are ours)."""

VIEWS: tuple[Transform, ...] = (
    Crop(share=(0.3, 1.0), p=1.0),
    Intensity(brightness=0.4, contrast=0.4, gamma=0.4, p=0.8),
    Blur(sigma=1.0, p=0.3),
)
"""What makes two looks at one image differ (the magnitudes are ours)."""

AnyTransform = Annotated[
    Flip
    | Rotate90
    | Affine
    | Elastic
    | Crop
    | Intensity
    | Noise
    | Blur
    | Cutout
    | ModalityDropout
    | RandAugment
    | BigAug,
    Field(discriminator="kind"),
]

TRANSFORMS: dict[str, type[Transform]] = {
    "flip": Flip,
    "rotate90": Rotate90,
    "affine": Affine,
    "elastic": Elastic,
    "crop": Crop,
    "intensity": Intensity,
    "noise": Noise,
    "blur": Blur,
    "cutout": Cutout,
    "modality_dropout": ModalityDropout,
    "rand_augment": RandAugment,
    "bigaug": BigAug,
}


class Augment(Config):
    """Transforms in order; the preset's come first.

    Args:
        preset: "none"; "light": left-right flip, small affine, small intensity; "strong": flip,
            RandAugment and cutout, for noisy students and consistency methods; "geometric": places only, for few
            annotated images of no fixed orientation (Majurski et al. 2019): reflections, quarter turns, any
            rotation, shifts of 10 %, magnification 1/1.1 to 1.1, shear of 10 degrees; "photometric": values only,
            for strong views whose elements stay where they are; "views": two looks at one image for self-supervised
            methods (parts of it, values, blur); "medical_views": such looks, which also differ by a smooth deformation
            and, where images have several channels, in the channels that are shown; "bigaug": nine strong changes of
            values and places for domains that nobody has seen (Zhang et al. 2020), each with probability 0.5, or `p`
            where the preset is written {preset: bigaug, p: 0.3}.
        flip_left_right: whether the presets mirror left and right. Set it false where sides carry
            meaning (which lung, which breast, situs).
        transforms: further transforms, in order.
    """

    preset: Literal["none", "light", "strong", "geometric", "photometric", "bigaug", "views", "medical_views"] = "none"
    flip_left_right: bool = True
    transforms: tuple[AnyTransform, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: object) -> object:
        """Read a preset's name or a list of transforms."""
        if isinstance(data, str):
            return {"preset": data}
        if isinstance(data, list | tuple):
            return {"transforms": data}
        if isinstance(data, Mapping) and data.get("preset") == "bigaug" and "p" in data:
            rest = {key: value for key, value in data.items() if key not in {"preset", "p"}}
            return {**rest, "transforms": [{"bigaug": {"each": data["p"]}}, *data.get("transforms", ())]}
        return data

    @field_validator("transforms", mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        """Read "flip" and {flip: {p: 0.5}} as {kind: flip, ...}."""
        return [_with_kind(entry) for entry in data] if isinstance(data, list | tuple) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON schema with the short forms, so that editors take them too."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        one = {"type": "object", "minProperties": 1, "maxProperties": 1}
        short: list[dict[str, Any]] = [
            {"enum": sorted(TRANSFORMS)},
            {**one, "propertyNames": {"enum": sorted(TRANSFORMS)}},
        ]
        entries = {"type": "array", "items": {"anyOf": [*short, whole["properties"]["transforms"]["items"]]}}
        whole["properties"]["transforms"] = {**entries, "default": []}
        said = "of the preset bigaug: probability of each of its nine changes"
        whole["properties"]["p"] = {"type": "number", "minimum": 0, "maximum": 1, "description": said}
        return {"anyOf": [{"enum": list(get_args(cls.model_fields["preset"].annotation))}, entries, whole]}

    @model_validator(mode="after")
    def _each_acts(self) -> Self:
        for transform in self.transforms:
            if transform.idle():
                why = "p = 0" if transform.p == 0 else "only strengths of 0"
                msg = f"{transform.kind} has {why} and would never act: remove it or raise them"
                raise ValueError(msg)
        return self

    @cached_property
    def steps(self) -> tuple[Transform, ...]:
        """Return all transforms in the order in which they act."""
        flip = (Flip(axes=(-1,), p=0.5),) if self.flip_left_right else ()
        preset: dict[str, tuple[Transform, ...]] = {
            "none": (),
            "light": (
                *flip,
                Affine(rotate=10, scale=0.1, translate=0.05, p=0.8),
                Intensity(brightness=0.1, contrast=0.1, gamma=0.1, p=0.8),
            ),
            "geometric": (
                Flip(axes=(-1, -2) if self.flip_left_right else (-2,), p=0.5),
                Rotate90(p=0.5),
                Affine(rotate=180, scale=0.1, shear=SHEAR, translate=0.1, p=0.8),
            ),
            "photometric": (
                Intensity(brightness=0.5, contrast=0.5, gamma=0.5, p=0.8),
                Blur(sigma=1.5, p=0.5),
                Noise(strength=0.2, p=0.5),
            ),
            "bigaug": (BigAug(),),
            "views": (*flip, *VIEWS),
            "medical_views": (*flip, VIEWS[0], Elastic(p=0.5), *VIEWS[1:], ModalityDropout(p=0.5)),
            "strong": (*flip, RandAugment(count=2, magnitude=0.6), Cutout(size=0.25, p=0.5)),
        }
        return preset[self.preset] + self.transforms

    def unused(self, channels: int) -> tuple[str, ...]:
        """Return what of the preset does nothing to images of so many channels, by name.

        Raises:
            ConfigError: a transform that is named does nothing to them.
        """
        for step in self.transforms:
            step.require_channels(channels)
        return tuple(step.kind for step in self.steps if step.least_channels > channels)

    def for_channels(self, channels: int, neutral: Sequence[float] = ()) -> Augment:
        """Return the chain for images of so many channels: without what of the preset does nothing to them.

        Args:
            channels: of the images.
            neutral: stored value of each channel that enters the network as 0, which dropped channels are set to;
                empty where that is 0.

        Raises:
            ConfigError: a transform that is named does nothing to them.
        """
        idle = self.unused(channels)
        if not any(isinstance(step, ModalityDropout) for step in self.steps):
            return self
        steps = [
            step.model_copy(update={"value": tuple(neutral)}) if isinstance(step, ModalityDropout) else step
            for step in self.steps
            if step.kind not in idle
        ]
        return Augment.model_validate({"flip_left_right": self.flip_left_right, "transforms": steps})

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw everything random for one image of `shape` (C, *S); plain JSON values."""
        return {"steps": [step.draw(rng, shape) for step in self.steps]}

    def apply(self, image: Tensor, draw: Draw, *, mask: bool = False) -> Tensor:
        """Apply a draw to one image or mask (C, *S)."""
        return self.apply_batch(image[None], [draw], mask=mask)[0]

    def apply_batch(self, images: Tensor, draws: Sequence[Draw], *, mask: bool = False) -> Tensor:
        """Apply one draw to each of (B, C, *S); equals `apply` on each element, exactly."""
        for i, step in enumerate(self.steps):
            images = step.apply_batch(images, [draw["steps"][i] for draw in draws], mask=mask)
        return images


def _with_kind(entry: object) -> object:
    if isinstance(entry, str):
        return {"kind": entry}
    if isinstance(entry, Mapping) and len(entry) == 1 and "kind" not in entry:
        ((kind, fields),) = entry.items()
        if fields is None or isinstance(fields, Mapping):
            return {"kind": kind, **(fields or {})}
    return entry
