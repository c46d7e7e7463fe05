"""RandAugment: a few random operations of one common strength.

Paper     Cubuk, Zoph, Shlens, Le. NeurIPS 2020. arXiv:1909.13719
Differs   The menu holds the operations that mean something for grey images and volumes (rotation,
          scale, shear, shift, brightness, contrast, gamma, noise, blur, identity); equalise,
          posterise, solarise and colour are left out (ours). Strengths are drawn up to the
          magnitude, not set to it (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.affine import Affine
from allograft.data.transforms.blur import Blur
from allograft.data.transforms.intensity import Intensity
from allograft.data.transforms.noise import Noise
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["RandAugment"]


class RandAugment(Transform):
    """Apply `count` operations drawn from a menu with replacement; identity is on the menu.

    Args:
        count: operations per image, >= 1 (paper: 2).
        magnitude: strength of all of them, in (0, 1].
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["rand_augment"] = "rand_augment"
    count: int = Field(default=2, ge=1)
    magnitude: float = Field(default=0.5, gt=0, le=1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the operations and what each of them draws."""
        names = list(_menu(self.magnitude))
        chosen = [names[int(i)] for i in rng.integers(len(names) + 1, size=self.count) if i < len(names)]
        return {"steps": [{"name": n, **_menu(self.magnitude)[n].draw(rng, shape)} for n in chosen]}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No operation."""
        return {"steps": []}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Apply each image's own operations in order, those of one kind together."""
        out = images.clone()
        for k in range(self.count):
            steps = {i: draw["steps"][k] for i, draw in enumerate(draws) if k < len(draw["steps"])}
            # What is applied depends on the draw alone, so one Affine serves rotation, shear and the rest.
            kinds = {step["kind"]: _menu(self.magnitude)[step["name"]] for step in steps.values()}
            for kind in sorted(kinds):
                chosen = [i for i, step in steps.items() if step["kind"] == kind]
                out[chosen] = kinds[kind].apply_batch(out[chosen], [steps[i] for i in chosen], mask=mask)
        return out


@lru_cache(maxsize=16)
def _menu(m: float) -> dict[str, Transform]:
    """Return the operations at magnitude `m` by name."""
    still, plain = Affine(rotate=0, scale=0, shear=0, translate=0), Intensity(brightness=0, contrast=0, gamma=0)
    return {
        "rotate": still.model_copy(update={"rotate": 30 * m}),
        "scale": still.model_copy(update={"scale": 0.3 * m}),
        "shear": still.model_copy(update={"shear": 0.3 * m}),
        "translate": still.model_copy(update={"translate": 0.3 * m}),
        "brightness": plain.model_copy(update={"brightness": m}),
        "contrast": plain.model_copy(update={"contrast": m}),
        "gamma": plain.model_copy(update={"gamma": m}),
        "noise": Noise(strength=0.5 * m),
        "blur": Blur(sigma=2 * m),
    }
