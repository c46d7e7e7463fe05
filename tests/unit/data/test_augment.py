from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.data.transforms.augment import TRANSFORMS, Augment
from allograft.data.transforms.flip import Flip
from allograft.testing.transforms import example_image


class _Recipe(Config):
    augment: Augment = Augment()


def test_a_recipe_names_a_preset_or_a_list() -> None:
    assert _Recipe.from_data({"augment": "light"}, where="x").augment == Augment(preset="light")
    listed = _Recipe.from_data({"augment": ["rotate90", {"affine": {"rotate": 20}}]}, where="x").augment
    assert [step.kind for step in listed.steps] == ["rotate90", "affine"]
    fields = _Recipe.from_data({"augment": {"preset": "light", "flip_left_right": False}}, where="x").augment
    assert "flip" not in [step.kind for step in fields.steps]
    assert "flip" in [step.kind for step in Augment(preset="light").steps]


def test_a_dump_reads_back_the_same_with_the_same_id() -> None:
    first = Augment.model_validate([{"flip": {"p": 0.25}}, "noise"])
    again = Augment.model_validate(first.model_dump(mode="json"))
    assert again == first
    assert again.content_id() == first.content_id()
    assert Augment.model_validate([{"flip": {"p": 0.3}}, "noise"]).content_id() != first.content_id()


@pytest.mark.parametrize(
    "entry",
    [
        {"flip": {"p": 0}},
        {"noise": {"strength": 0}},
        {"affine": {"rotate": 0, "scale": 0, "shear": 0, "translate": 0}},
        {"elastic": {"magnitude": 0}},
        {"intensity": {"brightness": 0, "contrast": 0, "gamma": 0}},
        {"blur": {"sigma": 0}},
        {"crop": {"share": [1, 1], "ratio": 1}},
    ],
)
def test_a_transform_that_never_acts_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="would never act"):
        _Recipe.from_data({"augment": [entry]}, where="study.yaml")
    Flip(p=0)  # the class itself has its limit


@pytest.mark.parametrize("wrong", ["lihgt", ["flop"], [{"flip": {"q": 1}}], [{"flip": {"p": 2}}], [3]])
def test_what_is_unknown_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Augment.model_validate(wrong)


def test_every_transform_of_the_table_can_be_named() -> None:
    assert [step.kind for step in Augment.model_validate(list(TRANSFORMS)).steps] == list(TRANSFORMS)
    assert all(cls().kind == name for name, cls in TRANSFORMS.items())


@pytest.mark.parametrize("shape", [(1, 12, 12), (2, 8, 9, 10)])
@pytest.mark.parametrize("preset", ["light", "strong"])
def test_presets_act_and_batch_equals_elements(preset: str, shape: tuple[int, ...]) -> None:
    augment = Augment(preset=preset)
    images = torch.stack([example_image(shape, i) for i in range(9)])
    draws = [augment.draw(np.random.default_rng(i), shape) for i in range(9)]
    together = augment.apply_batch(images, draws)
    assert torch.equal(together, torch.stack([augment.apply(x, d) for x, d in zip(images, draws, strict=True)]))
    assert sum(not torch.equal(a, b) for a, b in zip(together, images, strict=True)) >= 7
    assert torch.equal(together[[5, 2]], augment.apply_batch(images[[5, 2]], [draws[5], draws[2]]))


def test_none_changes_nothing() -> None:
    image = example_image((1, 8, 8))
    augment = Augment()
    assert torch.equal(augment.apply(image, augment.draw(np.random.default_rng(0), (1, 8, 8))), image)
