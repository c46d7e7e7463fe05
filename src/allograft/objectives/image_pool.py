"""Image pool: made images of earlier steps, so that a discriminator does not forget what it has learnt to tell.

Source: Shrivastava et al. CVPR 2017. arXiv:1612.07828, as used by Zhu et al. ICCV 2017. arXiv:1703.10593
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ImagePool"]


class ImagePool(nn.Module):
    """A fixed number of images; all state lies in buffers, all draws come from torch's generator.

    While it is not full an image is kept and handed on; then each image is, with probability 1/2, exchanged for a
    random one that was kept.

    Args:
        size: images kept, >= 0; 0 hands every image on.
    """

    kept: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("kept", torch.empty(0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """Return as many images as came, (B, C, *S), without gradients; one after another."""
        images = images.detach()
        if not self.size:
            return images
        if not self.kept.numel():
            self.kept = images.new_zeros(self.size, *images.shape[1:])
        out = images.clone()
        for i, image in enumerate(images):
            count = int(self.count)
            if count < self.size:
                self.kept[count] = image
                self.count += 1
            elif float(torch.rand(())) < 0.5:
                place = int(torch.randint(self.size, ()))
                out[i] = self.kept[place]
                self.kept[place] = image
        return out

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the images' size from what is loaded: it is not known before the first step."""
        stored = state_dict.get(f"{prefix}kept")
        if stored is not None and stored.shape != self.kept.shape:
            self.kept = torch.empty(stored.shape, dtype=stored.dtype, device=self.kept.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
