"""GAN: a discriminator that is the network itself learns images without labels.

Idea      To tell real images from made ones, a network must know what real images look like; its encoder then
          knows something of the modality before it has seen a label.
Paper     Radford, Metz, Chintala. Unsupervised representation learning with deep convolutional generative
          adversarial networks (DCGAN). ICLR 2016.  arXiv:1511.06434
Formula   discriminator: L = mean softplus(-D(x)) + mean softplus(D(G(z)));  generator: L = mean softplus(-D(G(z)))
          D the network's encoder, global mean and linear head; z ~ N(0, 1)
Streams   images: those of the role `role`, without targets.
Defaults  head = "real" (ours).  role = "images" (ours; the procedure "gan_pretrain" gives both).  width = 32 (ours;
          the paper has 128).  noise = 64 (ours; the paper has 100).  levels = 4 (paper).  lr = 2e-4 (paper), Adam's,
          whose first moment decays by 0.5 (paper), for both players.
Differs   1. Noise is a map that the generator doubles `levels` times and cuts to the image's size, so that any
          size and dimension goes, and is normal; the paper projects one uniform vector to 4 x 4.
          2. Kernels of 3 (paper: 4), a linear output (paper: tanh): images here are standardised, not in [-1, 1].
          3. The discriminator is the recipe's encoder, pooling included. Running statistics of its norms, which the
          encoder takes along, are those of real images alone.
          4. With several processes each one's norms see its own images.
Checked   tests/reference/test_gan.py: both losses are PyTorch's binary cross-entropies; neither player's step
          moves the other; running statistics are those of real images; trained, it tells new real images from made
          ones, and made ones come near the real moments.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Player, Progress, StreamSpec
from allograft.core.budget import PlayerOptim
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.generator import init_normal
from allograft.nets.layers import conv, norm, up_conv
from allograft.nets.modes import unmeasured
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, pixels

__all__ = ["GAN", "Generator"]

BETA = 0.5
"""How Adam's first moment decays (paper): with 0.9 the players swing."""


class GAN(Method):
    """Train the network to tell real images from a generator's, and the generator to deceive it.

    Args:
        head: binary head that says "real"; the network must have it.
        role: cohort of the real images.
        width: channels of the generator's last layer, doubled in each before it.
        noise: channels of the noise.
        levels: doublings from noise to image, >= 1.
        lr: learning rate of both players, > 0; the recipe's own does not act here.
    """

    name: ClassVar[str] = "gan"
    paper: ClassVar[Reference] = Reference(
        title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
        authors=("Radford", "Metz", "Chintala"),
        year=2016,
        venue="ICLR",
        arxiv="1511.06434",
    )

    head: str = "real"
    role: str = "images"
    width: int = Field(default=32, ge=1)
    noise: int = Field(default=64, ge=1)
    levels: int = Field(default=4, ge=1)
    lr: float = Field(default=2e-4, gt=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the one stream of images; nobody looks at their targets."""
        return {IMAGES: StreamSpec(self.role, labelled=False, pixels=True)}

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return the head that says "real", as of any pretext task."""
        return {self.head: Task(kind="binary", classes=("made", "real"), head=self.head)}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the generator.

        Raises:
            ConfigError: the network has no binary head of that name.
        """
        net = nets["net"]
        known = {name: each.kind for name, each in net.tasks.items()}
        if known.get(self.head) != "binary":
            msg = (
                f'gan: the discriminator needs a binary head "{self.head}", the network has {known or "none"}. Use the '
                'procedure "gan_pretrain", which gives it one.'
            )
            raise ConfigError(msg)
        return _GAN(self, Generator(net.shape.dims, net.shape.in_channels, self))


class Generator(nn.Module):
    """From noise (B, noise, *s) to images (B, C, *s * 2^levels); weights start N(0, 0.02).

    Args:
        dims: 2 or 3.
        channels: of the images.
        spec: width, noise and levels.
    """

    def __init__(self, dims: int, channels: int, spec: GAN) -> None:
        super().__init__()
        self.spec = spec
        widths = [spec.noise, *(spec.width * 2**k for k in reversed(range(spec.levels)))]
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            layers += [up_conv(dims, (wide, narrow), 2, kernel=3, bias=False), norm(dims, narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers, conv(dims, (widths[-1], channels), 3, bias=True))
        init_normal(self)

    def forward(self, like: Tensor) -> Tensor:
        """Return as many new images, of the same size, as `like` (B, C, *S) holds."""
        step = 2**self.spec.levels
        grid = [-(-n // step) for n in like.shape[2:]]
        made: Tensor = self.layers(torch.randn(len(like), self.spec.noise, *grid, device=like.device))
        return made[(slice(None), slice(None), *(slice(n) for n in like.shape[2:]))]


class _GAN(Criterion):
    """Two players: the network as discriminator, and the generator."""

    def __init__(self, spec: GAN, generator: Generator) -> None:
        super().__init__()
        self.spec, self.generator = spec, generator

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return discriminator and generator, each with its own Adam."""
        optim = PlayerOptim(name="adam", lr=self.spec.lr, weight_decay=0, schedule="constant", warmup=0, beta=BETA)
        owners = {"discriminator": nets["net"], "generator": self.generator}
        return tuple(Player(name, tuple(owner.parameters()), optim) for name, owner in owners.items())

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the player's loss."""
        real = pixels(batch)
        if player == "generator":
            made = self.generator(real)
            with unmeasured(nets["net"]):
                return Loss(nn.functional.softplus(-self._says(nets, made)).mean(), {})
        with torch.no_grad():
            made = self.generator(real)
        on_real = self._says(nets, real)
        with unmeasured(nets["net"]):
            on_made = self._says(nets, made)
        total = nn.functional.softplus(-on_real).mean() + nn.functional.softplus(on_made).mean()
        right = ((on_real > 0).float().mean() + (on_made < 0).float().mean()) / 2
        return Loss(total, {"accuracy": right.detach(), "chance": torch.tensor(0.5)})

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, and as many that the generator made."""
        return {"image": pixels(batch), "made": self.generator(pixels(batch))}

    def _says(self, nets: Mapping[str, Network], images: Tensor) -> Tensor:
        """Return (B,) logits of being real."""
        logits: Tensor = nets["net"](images).logits[self.spec.head]
        return logits.reshape(len(logits)).float()
