"""BigAug: nine strong transformations in a fixed order, so that a network meets domains that it has no data of.

Paper     Zhang et al. Generalizing deep learning for medical image segmentation to unseen domains via deep stacked
          transformation. IEEE TMI 2020. arXiv:1906.03347
Differs   1. Values are scaled by the image's own (a window's own) darkest and brightest, all channels together, and
          back afterwards.
          2. Sharpened values are cut to [0, 1], and so are those that are raised to a power (ours).
          3. The deformation is a B-spline that cannot fold, of up to 0.25 of 4 cells along each axis (ours); what comes
          in at the border is reflected (ours). Rotation is drawn for each plane, magnification evenly in [0.4, 1.6].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.affine import Affine
from allograft.data.transforms.blur import Blur
from allograft.data.transforms.elastic import Elastic
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["BigAug"]

STEPS = ("sharpness", "blur", "noise", "brightness", "gamma", "linear", "rotation", "scale", "elastic")
"""The transformations in their order; the last three move image and mask."""

MOVING = frozenset({"rotation", "scale", "elastic"})

SIGMA, ALPHA, NOISE, SHIFT, GAMMA = (0.25, 1.5), (10.0, 30.0), (0.1, 1.0), 0.1, (0.5, 4.5)
DEGREES, SCALE, ELASTIC = 20.0, (0.4, 1.6), Elastic(magnitude=0.25, cells=4)
AFFINE, BLUR = Affine(), Blur()


class BigAug(Transform):
    """Sharpness, blur, noise, brightness, gamma, linear values, rotation, scale, deformation: each at random.

    Values, on a scale on which the image lies in [0, 1]: sharpening by 10 to 30 times what a blur of sigma 0.25 to 1.5
    takes away; blur of sigma 0.25 to 1.5 elements; noise of standard deviation 0.1 to 1; a shift of up to 0.1; a power
    of 0.5 to 4.5; a factor of 0.9 to 1.1 and a shift of up to 0.1. Places: up to 20 degrees; 0.4 to 1.6 times as large;
    a smooth deformation.

    Args:
        each: probability of each of the nine, in [0, 1].
        p: probability that an image goes through the chain at all, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["bigaug"] = "bigaug"
    each: float = Field(default=0.5, ge=0, le=1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw which of the nine act, and how; all are drawn, so that none depends on another."""
        return {"each": self.each, "steps": [self._step(name, rng, len(shape) - 1) for name in STEPS]}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """None of the nine."""
        return {"each": self.each, "steps": [{"name": name, "applied": False} for name in STEPS]}

    def idle(self) -> bool:
        """Tell whether no image ever changes."""
        return self.p == 0 or self.each == 0

    def places(self, draw: Draw) -> dict[str, Any]:
        """Return the draw without what changes values."""
        kept = [step if step["name"] in MOVING else {**step, "applied": False} for step in draw.get("steps", ())]
        return {**draw, "steps": kept}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Apply each image's own steps in order; a mask follows the last three."""
        if mask:
            return self._walk(images, draws, [name for name in STEPS if name in MOVING], mask=True)
        view = (-1, *[1] * (images.ndim - 1))
        low, high = images.flatten(1).aminmax(dim=1)
        span = torch.where(high > low, high - low, 1.0).reshape(view)
        if not any(step["applied"] for draw in draws for step in draw["steps"]):
            return images
        unit = self._walk((images - low.reshape(view)) / span, draws, STEPS, mask=False)
        acted = torch.tensor([any(step["applied"] for step in draw["steps"]) for draw in draws]).reshape(view)
        return torch.where(acted, unit * span + low.reshape(view), images)

    def _step(self, name: str, rng: np.random.Generator, dims: int) -> dict[str, Any]:
        applied = bool(rng.random() < self.each)
        chosen = _draw(name, rng, dims)
        return {"name": name, "applied": applied, **chosen} if applied else {"name": name, "applied": False}

    @staticmethod
    def _walk(images: Tensor, draws: Sequence[Draw], names: Sequence[str], *, mask: bool) -> Tensor:
        """Return images after the named steps; each acts on those that drew it, together."""
        out = images.clone()
        for name in names:
            at = STEPS.index(name)
            chosen = [i for i, draw in enumerate(draws) if draw["steps"][at]["applied"]]
            if chosen:
                steps = [draws[i]["steps"][at] for i in chosen]
                out[chosen] = (
                    _move(name, out[chosen], steps, mask) if name in MOVING else VALUES[name](out[chosen], steps)
                )
        return out


def _draw(name: str, rng: np.random.Generator, dims: int) -> dict[str, Any]:
    """Draw the parameters of one step."""
    if name in {"rotation", "scale"}:
        planes = dims * (dims - 1) // 2
        still = {"shear": [0.0] * planes, "translate": [0.0] * dims}
        turned = rng.uniform(-DEGREES, DEGREES, size=planes).tolist() if name == "rotation" else [0.0] * planes
        return {**still, "rotate": turned, "scale": float(rng.uniform(*SCALE)) if name == "scale" else 1.0}
    if name == "elastic":
        return {"magnitude": ELASTIC.magnitude, "seed": int(rng.integers(2**53))}
    if name == "noise":
        return {"strength": float(rng.uniform(*NOISE)), "seed": int(rng.integers(2**53))}
    ranges: Mapping[str, Mapping[str, tuple[float, float]]] = {
        "sharpness": {"sigma": SIGMA, "alpha": ALPHA},
        "blur": {"sigma": SIGMA},
        "brightness": {"shift": (-SHIFT, SHIFT)},
        "gamma": {"gamma": GAMMA},
        "linear": {"factor": (1 - SHIFT, 1 + SHIFT), "shift": (-SHIFT, SHIFT)},
    }
    return {key: float(rng.uniform(*between)) for key, between in ranges[name].items()}


def _move(name: str, images: Tensor, steps: Sequence[Draw], mask: bool) -> Tensor:
    return (ELASTIC if name == "elastic" else AFFINE).change(images, steps, mask=mask)


def _column(images: Tensor, steps: Sequence[Draw], key: str) -> Tensor:
    return torch.tensor([step[key] for step in steps]).reshape(-1, *[1] * (images.ndim - 1))


def _sharpen(images: Tensor, steps: Sequence[Draw]) -> Tensor:
    """Return b + alpha (b - blur(b)), b the blurred image, cut to [0, 1]."""
    once = BLUR.change(images, steps, mask=False)
    twice = BLUR.change(once, steps, mask=False)
    return (once + _column(images, steps, "alpha") * (once - twice)).clamp(0, 1)


def _noisy(images: Tensor, steps: Sequence[Draw]) -> Tensor:
    shape = tuple(images.shape[1:])
    made = np.stack([np.random.default_rng(s["seed"]).standard_normal(shape, dtype=np.float32) for s in steps])
    return images + torch.from_numpy(made) * _column(images, steps, "strength")


def _bent(images: Tensor, steps: Sequence[Draw]) -> Tensor:
    # One at a time: a power may round differently for a batch.
    return torch.stack([one.clamp(0, 1).pow(step["gamma"]) for one, step in zip(images, steps, strict=True)])


VALUES: Mapping[str, Callable[[Tensor, Sequence[Draw]], Tensor]] = {
    "sharpness": _sharpen,
    "blur": lambda images, steps: BLUR.change(images, steps, mask=False),
    "noise": _noisy,
    "brightness": lambda images, steps: images + _column(images, steps, "shift"),
    "gamma": _bent,
    "linear": lambda images, steps: images * _column(images, steps, "factor") + _column(images, steps, "shift"),
}
