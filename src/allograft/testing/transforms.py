"""What every transform must keep; an author of one calls `check_transform`."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from allograft.data.transforms.transform import Transform

__all__ = ["check_transform", "example_image", "example_mask"]

_SIDES = {2: (10, 12), 3: (8, 10, 6)}


def check_transform(transform: Transform) -> None:
    """Hold a transform to its contract, in 2-D and 3-D.

    Raises:
        AssertionError: the sentence says which clause is broken.
    """
    assert type(transform).model_validate(transform.model_dump()) == transform, "settings do not survive a round trip"
    for dims in (2, 3):
        for shape in ((max(2, transform.least_channels), *_SIDES[dims]), (transform.least_channels, *[9] * dims)):
            _check_draws(transform, shape)
            _check_identity(transform, shape)
            _check_batch(transform, shape)
            _check_masks(transform, shape)


def example_image(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return a smooth synthetic image (C, *S) float32 in [0, 1], different in every channel and place."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*[np.linspace(0, 1, n) for n in shape[1:]], indexing="ij")
    channels = []
    for _ in range(shape[0]):
        waves = [np.sin(rng.uniform(2, 5) * g + rng.uniform(0, 6)) for g in grids]
        total = np.sum(waves, axis=0)
        channels.append((total - total.min()) / (total.max() - total.min()))
    return torch.from_numpy(np.stack(channels)).float()


def example_mask(shape: tuple[int, ...]) -> Tensor:
    """Return synthetic labels (1, *S) int64 with values 0, 3 and 7."""
    image = example_image((1, *shape[1:]), seed=5)
    return (image > 0.35).long() * 3 + (image > 0.7).long() * 4


def _check_draws(transform: Transform, shape: tuple[int, ...]) -> None:
    first = [transform.draw(np.random.default_rng(s), shape) for s in range(20)]
    again = [transform.draw(np.random.default_rng(s), shape) for s in range(20)]
    assert first == again, "the same generator gives another draw"
    assert json.loads(json.dumps(first)) == first, "a draw is not plain JSON"
    for draw in first:
        assert draw["kind"] == transform.kind, "a draw does not name its transform"
        assert draw["p"] == transform.p, "a draw does not record p"
        assert isinstance(draw["applied"], bool), "a draw does not say whether it is applied"
    never = transform.model_copy(update={"p": 0.0})
    always = transform.model_copy(update={"p": 1.0})
    assert not any(never.draw(np.random.default_rng(s), shape)["applied"] for s in range(20)), "p = 0 is applied"
    draws = [always.draw(np.random.default_rng(s), shape) for s in range(20)]
    assert all(draw["applied"] for draw in draws), "p = 1 is left out"
    mixed = transform.model_copy(update={"p": 0.5})
    some = [mixed.draw(np.random.default_rng(s), shape) for s in range(20)]
    assert any(a != b for a, b in pairwise(some)), "different generators give the same draw"
    image = example_image(shape)
    assert any(not torch.allclose(transform.apply(image, d), image, atol=1e-6) for d in draws), (
        "no draw changes the image: a no-op"
    )


def _check_identity(transform: Transform, shape: tuple[int, ...]) -> None:
    image, mask = example_image(shape), example_mask(shape)
    still = transform.draw_identity(shape)
    assert torch.allclose(transform.apply(image, still), image, atol=1e-5), "the identity draw changes the image"
    assert torch.equal(transform.apply(mask, still, mask=True), mask), "the identity draw changes the mask"
    left_out = transform.model_copy(update={"p": 0.0}).draw(np.random.default_rng(0), shape)
    assert torch.equal(transform.apply(image, left_out), image), "a draw that is not applied changes the image"


def _check_batch(transform: Transform, shape: tuple[int, ...]) -> None:
    images = torch.stack([example_image(shape, seed=i) for i in range(7)])
    before = images.clone()
    draws = [transform.draw(np.random.default_rng(s), shape) for s in range(7)]
    together = transform.apply_batch(images, draws)
    alone = torch.stack([transform.apply(image, draw) for image, draw in zip(images, draws, strict=True)])
    assert torch.equal(together, alone), "a batch differs from its elements"
    assert torch.equal(transform.apply_batch(images, draws), together), (
        "applying a draw twice differs: hidden randomness"
    )
    assert torch.equal(images, before), "the input was changed in place"
    assert together.shape == images.shape, "the shape changed"
    assert together.dtype == images.dtype, "the number type changed"
    assert bool(torch.isfinite(together).all()), "a value is not finite"


def _check_masks(transform: Transform, shape: tuple[int, ...]) -> None:
    mask = example_mask(shape)
    labels = set(mask.flatten().tolist()) | {0}
    for s in range(10):
        draw = transform.model_copy(update={"p": 1.0}).draw(np.random.default_rng(s), shape)
        moved = transform.apply(mask, draw, mask=True)
        assert moved.dtype == mask.dtype, "a mask changed its number type"
        assert set(moved.flatten().tolist()) <= labels, "a mask got values that are no labels"
        if not transform.moves:
            assert torch.equal(moved, mask), "a transform of values changed the mask"
            continue
        as_image = transform.apply((mask == 3).float(), transform.places(draw))
        clear = (as_image - 0.5).abs() > 0.499  # away from borders, where interpolation is undecided
        assert torch.equal((moved == 3)[clear], (as_image > 0.5)[clear]), "image and mask moved apart"
