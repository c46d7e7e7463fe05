"""Modality dropout: hide whole channels of an image with several, so that a network learns from any of them.

Paper     Neverova, Wolf, Taylor, Nebout. ModDrop: adaptive multi-modal gesture recognition. IEEE TPAMI 2016.
          arXiv:1501.00102. Of medical images: Lau, Adler, Sjolund. A unified representation network for segmentation
          with missing modalities. 2019. arXiv:1908.06683
Differs   1. Every channel is dropped with the same probability, 0.5 (ours); where all would be, one of them stays.
          2. Nothing is scaled up for what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["ModalityDropout"]


class ModalityDropout(Transform):
    """Set each channel to a neutral value with a probability, but never all.

    The neutral value is what enters the network as 0, the mean that images are normalised by, as for a channel that a
    patient does not have. Masks stay: what is hidden in one channel is still to be found in another.

    Args:
        each: probability that a channel is dropped, in [0, 1]; 1 leaves exactly one.
        value: stored value of each channel that enters as 0; empty: 0 itself, right where images are standardised.
            A study fills it in from how its images are normalised.
        p: probability that channels of an image are dropped at all, in [0, 1].
    """

    moves: ClassVar[bool] = False
    least_channels: ClassVar[int] = 2
    kind: Literal["modality_dropout"] = "modality_dropout"
    each: float = Field(default=0.5, ge=0, le=1)
    value: tuple[float, ...] = ()

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the channels, and write down what they are set to."""
        self.require_channels(shape[0])
        if self.value and len(self.value) != shape[0]:
            msg = (
                f"modality_dropout: value has {len(self.value)} numbers, images have {shape[0]} channels. Leave it out."
            )
            raise ConfigError(msg)
        hidden = rng.random(shape[0]) < self.each
        stays = int(rng.integers(shape[0]))  # drawn in any case, so that nothing after it depends on what was hidden
        if hidden.all():
            hidden[stays] = False
        channels = np.flatnonzero(hidden).tolist()
        return {"channels": channels, "values": [self.value[i] if self.value else 0.0 for i in channels]}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No channel."""
        return {"channels": [], "values": []}

    def idle(self) -> bool:
        """Tell whether no channel is ever dropped."""
        return self.p == 0 or self.each == 0

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Set the drawn channels of each image."""
        out = images.clone()
        for one, draw in zip(out, draws, strict=True):
            for channel, value in zip(draw["channels"], draw["values"], strict=True):
                one[channel] = value
        return out
