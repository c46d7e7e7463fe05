"""Transform: randomness is drawn first and written down, then applied without any.

Why our own kernels and not MONAI's array transforms: measured for one 1x48x48 image on one core,
RandAffine takes 2.6 ms, RandFlip 0.8 ms, RandAdjustContrast 0.7 ms (MONAI 1.6.1), so a batch of 32
would cost about 130 ms, more than the training step it feeds. The files beside this one took 9 ms
for the preset "light" and 17 ms for "strong", on a machine busy with other work (docs/benchmarks/view_loading.md
has whole batches). SciPy, scikit-image and torchvision are their judges in the tests.

Batch = element by element, exactly: what is batched is built of operations that treat each element
alike wherever it stands (grid_sample, multiplication, addition); reductions and powers, whose last
bit may depend on where an element lies in memory, run one element at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from allograft.core.config import Config
from allograft.core.errors import ConfigError

__all__ = ["Draw", "Transform"]

Draw = Mapping[str, Any]
"""What was drawn for one image: plain JSON values; "kind", "p" and "applied" are always there."""


class Transform(Config):
    """Settings of one augmentation. An author writes `parameters`, `identity` and `change`.

    Args:
        kind: the transform's name, as in a study file.
        p: probability that an image is changed, in [0, 1]; 0 is refused where a study is loaded.
    """

    moves: ClassVar[bool]
    """Whether pixels change place: then masks follow, else masks stay as they are."""

    least_channels: ClassVar[int] = 1
    """Fewest channels of images that this changes."""

    kind: str
    p: float = Field(default=1.0, ge=0, le=1)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw everything random for one image of `shape` (C, *S)."""
        applied = bool(rng.random() < self.p)
        chosen = self.parameters(rng, shape) if applied else {}
        return {"kind": self.kind, "p": self.p, "applied": applied, **chosen}

    def draw_identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the draw that is applied and changes nothing: the limit of every setting."""
        return {"kind": self.kind, "p": self.p, "applied": True, **self.identity(shape)}

    def idle(self) -> bool:
        """Tell whether this never changes anything: p is 0, or every strength is."""
        shape = (self.least_channels, 8, 8, 8)
        drawn = self.parameters(np.random.default_rng(0), shape)
        still = self.identity(shape)
        return self.p == 0 or all(drawn[key] == still[key] for key in still if key != "seed")

    def require_channels(self, count: int) -> None:
        """Refuse images on which this would do nothing.

        Raises:
            ConfigError: they have fewer channels than this acts on.
        """
        if count < self.least_channels:
            msg = (
                f"{self.kind} acts on images of at least {self.least_channels} channels, these have {count}. Leave it "
                "out of augment."
            )
            raise ConfigError(msg)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the random parameters of one change, JSON-able."""
        raise NotImplementedError

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return parameters that change nothing."""
        raise NotImplementedError

    def places(self, draw: Draw) -> dict[str, Any]:
        """Return the part of a draw that moves pixels and changes no value."""
        return dict(draw)

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Return (n, C, *S) images changed each by its own draw; no randomness, input untouched."""
        raise NotImplementedError

    def apply(self, image: Tensor, draw: Draw, *, mask: bool = False) -> Tensor:
        """Apply a draw to one image or mask.

        Args:
            image: (C, *S); for a mask, labels of any dtype.
            draw: from `draw`.
            mask: nearest neighbours and no change of values.

        Returns:
            (C, *S), dtype of `image`.
        """
        return self.apply_batch(image[None], [draw], mask=mask)[0]

    def apply_batch(self, images: Tensor, draws: Sequence[Draw], *, mask: bool = False) -> Tensor:
        """Apply one draw to each of (B, C, *S); equals `apply` on each element, exactly."""
        chosen = [i for i, draw in enumerate(draws) if draw["applied"]]
        if not chosen or (mask and not self.moves):
            return images
        if len(chosen) == len(draws):
            return self.change(images, draws, mask=mask)
        out = images.clone()
        out[chosen] = self.change(images[chosen], [draws[i] for i in chosen], mask=mask)
        return out
