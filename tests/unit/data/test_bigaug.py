"""BigAug: order and probability of the nine, SciPy as judge of single steps; synthetic images."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.data.transforms.affine import Affine
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.bigaug import STEPS, BigAug
from allograft.study.recipe import Recipe
from allograft.testing.transforms import example_image, example_mask

SHAPES = [(2, 20, 24), (1, 12, 14, 10)]
ORDER = ["sharpness", "blur", "noise", "brightness", "gamma", "linear", "rotation", "scale", "elastic"]


def only(name: str, **how: Any) -> dict[str, Any]:
    """Return a draw in which one of the nine acts."""
    steps = [{"name": each, "applied": each == name, **(how if each == name else {})} for each in STEPS]
    return {"kind": "bigaug", "p": 1.0, "applied": True, "each": 0.5, "steps": steps}


def stretched(image: Tensor) -> Tensor:
    """Return an image whose values are far from [0, 1]."""
    return 50 * image - 7


@pytest.mark.parametrize("shape", SHAPES)
def test_each_of_nine_acts_with_its_probability_in_the_papers_order_and_is_recorded(shape: tuple[int, ...]) -> None:
    draws = [BigAug(each=0.5).draw(np.random.default_rng(seed), shape) for seed in range(400)]
    assert json.loads(json.dumps(draws)) == draws
    for draw in draws:
        assert [step["name"] for step in draw["steps"]] == ORDER
        assert draw["each"] == 0.5
    shares = np.mean([[step["applied"] for step in draw["steps"]] for draw in draws], axis=0)
    assert np.all(np.abs(shares - 0.5) < 0.1)
    within = {"sigma": (0.25, 1.5), "alpha": (10, 30), "strength": (0.1, 1), "gamma": (0.5, 4.5), "factor": (0.9, 1.1)}
    drawn = [step for draw in draws for step in draw["steps"] if step["applied"]]
    for key, (low, high) in within.items():
        values = [step[key] for step in drawn if key in step]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    turned = [angle for step in drawn if step["name"] == "rotation" for angle in step["rotate"]]
    sizes = [step["scale"] for step in drawn if step["name"] == "scale"]
    assert -20 <= min(turned) < -17
    assert 17 < max(turned) <= 20
    assert 0.4 <= min(sizes) < 0.5
    assert 1.5 < max(sizes) <= 1.6


@pytest.mark.parametrize("shape", SHAPES)
def test_probability_0_is_the_identity_bit_for_bit(shape: tuple[int, ...]) -> None:
    image, mask = stretched(example_image(shape)), example_mask(shape)
    for still in (BigAug(each=0), BigAug(p=0)):
        for seed in range(10):
            draw = still.draw(np.random.default_rng(seed), shape)
            assert torch.equal(still.apply(image, draw), image)
            assert torch.equal(still.apply(mask, draw, mask=True), mask)
    always = BigAug(each=1)
    assert not torch.equal(always.apply(image, always.draw(np.random.default_rng(0), shape)), image)


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_on_values_equal_scipy_on_the_unit_scale_and_come_back(shape: tuple[int, ...]) -> None:
    image = example_image(shape)
    low, high = float(image.min()), float(image.max())
    unit = (image.numpy() - low) / (high - low)
    sigmas = [0.0, *[0.9] * (len(shape) - 1)]
    once = gaussian_filter(unit, sigmas, mode="nearest")
    twice = gaussian_filter(once, sigmas, mode="nearest")
    expected = {
        ("blur", ("sigma", 0.9)): once,
        ("brightness", ("shift", -0.08)): unit - 0.08,
        ("gamma", ("gamma", 3.0)): unit**3,
        ("linear", ("factor", 0.92), ("shift", 0.05)): unit * 0.92 + 0.05,
        ("sharpness", ("sigma", 0.9), ("alpha", 12.0)): np.clip(once + 12 * (once - twice), 0, 1),
    }
    for (name, *how), judged in expected.items():
        found = BigAug().apply(image, only(name, **dict(how))).numpy()
        np.testing.assert_allclose(found, low + judged * (high - low), atol=1e-4, err_msg=name)
        far = BigAug().apply(stretched(image), only(name, **dict(how)))
        torch.testing.assert_close(far, stretched(torch.from_numpy(found)), atol=1e-3, rtol=1e-4)


def test_noise_has_the_strength_that_was_drawn() -> None:
    image = stretched(example_image((1, 200, 200)))
    noise = BigAug().apply(image, only("noise", strength=0.4, seed=3)) - image
    span = float(image.max() - image.min())
    assert float(noise.std()) == pytest.approx(0.4 * span, rel=0.02)
    assert abs(float(noise.mean())) < 0.01 * span


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_on_places_equal_the_affine_and_move_image_and_mask_together(shape: tuple[int, ...]) -> None:
    image, mask, dims = example_image(shape), example_mask(shape), len(shape) - 1
    planes = dims * (dims - 1) // 2
    still = {"shear": [0.0] * planes, "translate": [0.0] * dims}
    for name, how in {
        "rotation": {"rotate": [15.0] * planes, "scale": 1.0},
        "scale": {"rotate": [0.0] * planes, "scale": 0.5},
    }.items():
        draw, plain = only(name, **still, **how), {"applied": True, **still, **how}
        torch.testing.assert_close(BigAug().apply(image, draw), Affine().apply(image, plain), atol=1e-5, rtol=1e-5)
        moved = BigAug().apply(mask, draw, mask=True)
        assert torch.equal(moved, Affine().apply(mask, plain, mask=True))
        assert not torch.equal(moved, mask)
    for name, how in {"noise": {"strength": 1.0, "seed": 0}, "gamma": {"gamma": 4.0}}.items():
        assert torch.equal(BigAug().apply(mask, only(name, **how), mask=True), mask)


def test_a_recipe_names_it_by_preset_with_and_without_probability() -> None:
    net = {"encoder": "resnet18", "dims": 2}

    def augment(said: object) -> Augment | None:
        return Recipe.from_data({"name": "x", "net": net, "augment": said}, where="x").augment

    plain, weaker = augment("bigaug"), augment({"preset": "bigaug", "p": 0.3, "transforms": ["flip"]})
    assert plain is not None
    assert weaker is not None
    assert plain.steps == (BigAug(each=0.5),)
    assert [step.kind for step in weaker.steps] == ["bigaug", "flip"]
    assert weaker.steps[0] == BigAug(each=0.3)
    assert plain.content_id() != weaker.content_id() != Augment().content_id()
    again = Augment.model_validate(weaker.model_dump(mode="json"))
    assert again == weaker
    with pytest.raises(ConfigError, match="would never act"):
        augment({"preset": "bigaug", "p": 0})
    with pytest.raises(ConfigError, match="p"):
        augment({"preset": "light", "p": 0.3})
    with pytest.raises(ValidationError):
        BigAug(each=1.5)
