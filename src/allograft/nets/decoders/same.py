"""Same: the encoder's own features at the image's resolution, for networks that are a segmenter already."""

from __future__ import annotations

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.network import Encoder, axis_strides

__all__ = ["Same"]


class Same(nn.Module):
    """Hands on the deepest level of stride 1 unchanged; has no tensors.

    Args:
        encoder: has a level of stride 1.

    Raises:
        ConfigError: no level has stride 1.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        found = [i for i, strides in enumerate(axis_strides(encoder)) if set(strides) == {1}]
        if not found:
            msg = (
                f'decoder "same": the encoder has no level of the image\'s resolution (strides {encoder.strides}). '
                'Use the decoder "unet".'
            )
            raise ConfigError(msg)
        self.level = found[-1]
        self.channels = encoder.channels[self.level]

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return the level, (B, channels, *S)."""
        return levels[self.level]
