"""Geometric augmentation of images with masks: label sets stay, both move together, identity and turns are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allograft.data.transforms.affine import Affine
from allograft.data.transforms.augment import SHEAR, Augment
from allograft.data.transforms.rotate90 import Rotate90

SHAPES = {2: (1, 24, 24), 3: (1, 12, 16, 16)}
PRESET = Augment(preset="geometric")


def scene(dims: int) -> torch.Tensor:
    """Return labels 0, 3 and 7 in two cubes, as a float image (C, *S)."""
    image = torch.zeros(SHAPES[dims])
    image[(0, *[slice(2, 8)] * dims)] = 3
    image[(0, *[slice(7, 11)] * dims)] = 7
    return image


def draws(dims: int, count: int = 30) -> list[dict]:
    return [PRESET.draw(np.random.default_rng(seed), SHAPES[dims]) for seed in range(count)]


@pytest.mark.parametrize("dims", [2, 3])
def test_mask_values_stay_in_the_label_set(dims: int) -> None:
    mask = scene(dims).long()
    for draw in draws(dims):
        assert set(PRESET.apply(mask, draw, mask=True).unique().tolist()) <= {0, 3, 7}


@pytest.mark.parametrize("dims", [2, 3])
def test_image_and_mask_move_together(dims: int) -> None:
    """A mask that is used as an image lands in the same place, within interpolation; another draw does not."""
    mask = (scene(dims) > 0).long()
    agreed, astray = [], []
    every = draws(dims)
    for draw, other in itertools.pairwise(every):
        as_mask = PRESET.apply(mask, draw, mask=True)
        as_image = PRESET.apply(mask.float(), draw)
        agreed.append(float(((as_image > 0.5).long() == as_mask).float().mean()))
        astray.append(float(((PRESET.apply(mask.float(), other) > 0.5).long() == as_mask).float().mean()))
    assert min(agreed) > 0.97
    assert np.mean(astray) < np.mean(agreed) - 0.03


@pytest.mark.parametrize("dims", [2, 3])
def test_identity_is_bit_equal(dims: int) -> None:
    image = torch.randn(SHAPES[dims])
    still = {
        "steps": [
            {"kind": step.kind, "p": step.p, "applied": False, **step.identity(SHAPES[dims])} for step in PRESET.steps
        ]
    }
    assert torch.equal(PRESET.apply(image, still), image)


@pytest.mark.parametrize("dims", [2, 3])
def test_four_quarter_turns_restore(dims: int) -> None:
    image, once = (
        torch.randn(SHAPES[dims]),
        {"kind": "rotate90", "p": 1, "applied": True, "plane": [-2, -1], "turns": 1},
    )
    turned = image
    for k in range(4):
        assert torch.equal(turned, image) == (k == 0)
        turned = Rotate90(p=1).apply_batch(turned[None], [once])[0]
    assert torch.equal(turned, image)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_preset_has_every_move_within_its_limits(dims: int) -> None:
    steps = [draw["steps"] for draw in draws(dims, 200)]
    affine = [s[2] for s in steps if s[2]["applied"]]
    flips, turns = [s[0] for s in steps if s[0]["applied"]], [s[1] for s in steps if s[1]["applied"]]
    assert {axis for f in flips for axis in f["axes"]} == {-1, -2}
    assert {t["turns"] for t in turns} >= {1, 2, 3}
    angles = np.concatenate([d["rotate"] for d in affine])
    assert angles.min() < -150
    assert angles.max() > 150
    assert 0.05 < np.abs([d["shear"] for d in affine]).max() <= SHEAR
    assert 0.08 < np.abs([d["translate"] for d in affine]).max() <= 0.1
    scales = np.array([d["scale"] for d in affine])
    assert 1 / 1.1 <= scales.min() < 0.93
    assert 1.07 < scales.max() <= 1.1
    assert pytest.approx(np.tan(np.pi / 18)) == SHEAR


def test_sides_that_carry_meaning_are_not_mirrored_and_unknown_presets_are_refused() -> None:
    one_sided = Augment(preset="geometric", flip_left_right=False)
    assert [step.axes for step in one_sided.steps if step.kind == "flip"] == [(-2,)]
    assert [step.kind for step in PRESET.steps] == ["flip", "rotate90", "affine"]
    assert isinstance(PRESET.steps[2], Affine)
    with pytest.raises(ValidationError, match="geometric"):
        Augment(preset="geometrical")
