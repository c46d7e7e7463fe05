from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from allograft.data.transforms.affine import Affine
from allograft.data.transforms.augment import TRANSFORMS
from allograft.data.transforms.flip import Flip
from allograft.data.transforms.intensity import Intensity
from allograft.data.transforms.noise import Noise
from allograft.data.transforms.transform import Draw, Transform
from allograft.testing.transforms import check_transform


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_keeps_the_contract(name: str) -> None:
    check_transform(TRANSFORMS[name]())


@pytest.mark.parametrize(
    "transform",
    [
        Affine(rotate=180, scale=0.5, shear=0.5, translate=0.5, padding="zeros"),
        Affine(rotate=45, padding="border", p=0.5),
        Flip(axes=(-1, -2), p=0.3),
    ],
)
def test_strong_settings_keep_the_contract(transform: Transform) -> None:
    check_transform(transform)


class _Broken(Transform):
    """Planted faults: each must be caught by its own clause."""

    moves: ClassVar[bool] = True
    kind: str = "broken"
    fault: str = ""

    def parameters(self, rng: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        value = float(rng.random()) + 0.5
        return {"shift": torch.tensor(value) if self.fault == "json" else value}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"shift": 0.1 if self.fault == "identity" else 0.0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        if self.fault == "hidden":
            return images + torch.rand(()) * draws[0]["shift"]
        if self.fault == "inplace" and images.is_floating_point() and len(draws) > 1:
            images += 1e-3
        if self.fault == "batch" and len(draws) > 1:
            return images + images.mean() * draws[0]["shift"]
        if self.fault == "noop":
            return images.clone()
        if mask:
            return images + 1 if self.fault == "labels" and draws[0]["shift"] else images
        return images + torch.tensor([d["shift"] for d in draws]).reshape(-1, *[1] * (images.ndim - 1))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("json", "JSON|ambiguous"),
        ("identity", "identity draw"),
        ("hidden", "batch differs|hidden"),
        ("inplace", "in place|twice"),
        ("batch", "batch differs"),
        ("noop", "no-op"),
        ("labels", "no labels"),
    ],
)
def test_the_suite_can_say_no(fault: str, says: str) -> None:
    with pytest.raises((AssertionError, TypeError, RuntimeError), match=says + "|not JSON serializable"):
        check_transform(_Broken(fault=fault))


def test_a_transform_whose_strengths_are_all_zero_is_called_a_no_op() -> None:
    for transform in (Intensity(brightness=0, contrast=0, gamma=0), Noise(strength=0)):
        with pytest.raises(AssertionError, match="no-op"):
            check_transform(transform)
