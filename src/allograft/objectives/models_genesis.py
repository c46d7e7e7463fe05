"""Models Genesis: restore images whose texture, intensities or parts were spoilt.

Idea      To undo shuffled texture, a bent grey scale, holes or a lost outside, a network must know how anatomy looks.
Paper     Zhou, Sodha, Rahman Siddiquee, Feng, Tajbakhsh, Gotway, Liang. Models Genesis: generic autodidactic models for
          3D medical image analysis. MICCAI 2019.  arXiv:1908.06912
Formula   L = mean (sigmoid(r(f(T(x)))) - x)^2,  x in [0, 1],  T = painting (p) after intensity (p) after shuffling (p)
Streams   images: images only, no target.
Defaults  shuffle = 0.5 (paper).  intensity = 0.9 (paper).  paint = 0.9 (paper).  inside = 0.2, the share of in-painting
          (paper).  windows = none (paper 10000 of 64 x 64 x 32): as many for each element.  running = false (paper).
          width = 64 (ours), the largest of the decoder's steps.
Differs   1. Written from the description alone; the authors' code and weights are for non-commercial research, and a
          patent is said to be pending.
          2. Any encoder goes; the decoder belongs to the pretext task and is left behind.
          3. Each image is brought to [0, 1] by its own smallest and largest value, where the paper clips CT numbers;
          the spoilt copy is brought back, so that the network's input contract holds.
          4. Flips are the stage's augmentation. Optimiser and rate are the recipe's (paper: SGD at 1.0).
          5. Batch norms are as the encoder has them; the released network uses batch statistics also in evaluation.
          6. Windows of shuffling may have sides of 2 where a tenth of the axis is less, or small images would stay as
          they are. The curve has 1000 points (paper 100000). All channels are painted with the same noise.
Checked   tests/reference/test_models_genesis.py: each distortion's invariants, the curve by scipy, how often each acts;
          the loss by numpy; without distortions an identity has no loss; evaluation does not depend on who else is in
          the batch; restoring is learnt, 2-D and 3-D.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.distort import bezier_map, in_paint, local_shuffle, out_paint
from allograft.nets.network import Network
from allograft.objectives.pretext import ImagesAlone, pixels
from allograft.objectives.restoring import Restorer, RestoringCriterion, unit_range

__all__ = ["ModelsGenesis"]

ELEMENTS_PER_WINDOW = 64 * 64 * 32 / 10_000


class ModelsGenesis(ImagesAlone, Method):
    """Minimise the squared error of restored images.

    Args:
        shuffle: probability of shuffled texture, in [0, 1].
        intensity: of a bent grey scale.
        paint: of painting.
        inside: share of painting that is in-painting; the rest is out-painting.
        windows: of shuffling, None one for every 13 elements.
        running: shuffle so that the values of an image are kept exactly.
        width: largest width of the decoder's steps.
    """

    name: ClassVar[str] = "models_genesis"
    paper: ClassVar[Reference] = Reference(
        title="Models Genesis: Generic Autodidactic Models for 3D Medical Image Analysis",
        authors=("Zhou", "Sodha", "Rahman Siddiquee", "Feng", "Tajbakhsh", "Gotway", "Liang"),
        year=2019,
        venue="MICCAI",
        arxiv="1908.06912",
    )

    shuffle: float = Field(default=0.5, ge=0, le=1)
    intensity: float = Field(default=0.9, ge=0, le=1)
    paint: float = Field(default=0.9, ge=0, le=1)
    inside: float = Field(default=0.2, ge=0, le=1)
    windows: int | None = Field(default=None, ge=1)
    running: bool = False
    width: int = Field(default=64, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Genesis(self, nets["net"])


class _Genesis(RestoringCriterion):
    def __init__(self, spec: ModelsGenesis, net: Network) -> None:
        super().__init__()
        self.spec, self.restorer = spec, Restorer(net, most=spec.width)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the mean squared error; parts: that of the spoilt images, and of each image's mean."""
        image = pixels(batch)
        clean, low, high = unit_range(image)
        spoilt = self.spoilt(image)
        unrestored = ((spoilt - low) / (high - low).clamp_min(1e-12) - clean).square().mean()
        loss = (self.restored(nets["net"], spoilt).float() - clean).square().mean()
        mean_guess = (clean - clean.flatten(1).mean(1).reshape(-1, *[1] * (clean.ndim - 1))).square().mean()
        return Loss(loss, {"unrestored": unrestored, "mean_guess": mean_guess})

    def spoilt(self, image: Tensor) -> Tensor:
        """Return distorted copies, in the units of the images."""
        clean, low, high = unit_range(image)
        made = torch.stack([self._distort(one) for one in clean.cpu()]).to(image)
        return made * (high - low) + low

    def restored(self, net: Network, spoilt: Tensor) -> Tensor:
        """Return restored images in [0, 1]."""
        return torch.sigmoid(self.restorer(net, spoilt))

    def _distort(self, image: Tensor) -> Tensor:
        """Return one image (C, *S) in [0, 1], distorted in the paper's order."""
        spec = self.spec
        if torch.rand(()) < spec.shuffle:
            windows = spec.windows or max(1, round(image[0].numel() / ELEMENTS_PER_WINDOW))
            image = local_shuffle(image, windows, running=spec.running)
        if torch.rand(()) < spec.intensity:
            image = bezier_map(image)
        if torch.rand(()) < spec.paint:
            image = in_paint(image) if torch.rand(()) < spec.inside else out_paint(image)
        return image
