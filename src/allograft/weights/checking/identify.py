"""Identify: which encoder a file seems to be of, by the names and shapes of its tensors alone.

ResNets are read from their own structure (blocks, kinds of block, shortcuts, stem, channels), so that any depth
is told apart, not only those that a card asks for. Others are compared with encoders that are built on the meta
device. Equal names and shapes do not prove equal function: where two encoders share them, both are named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

from allograft.core.config import Config
from allograft.nets.encoders.resnet import BLOCKS

__all__ = ["Guess", "Structure", "identify", "structure"]

Shapes = Mapping[str, tuple[int, ...]]

_BLOCK = re.compile(r"(?P<prefix>.*?)layer(?P<stage>[1-4])\.(?P<block>\d+)\.(?P<what>.+)")
_GENESIS = "down_tr64.ops.0.conv1.weight"


class Structure(NamedTuple):
    """A ResNet as its tensors describe it."""

    prefix: str
    blocks: tuple[int, ...]
    bottleneck: bool
    shortcuts: bool
    dims: int
    in_channels: int
    stem: int
    kernel: tuple[int, ...]
    halved: bool
    channels_last: bool

    @property
    def depth(self) -> int:
        """Depth by the counts of blocks, 0 where no published depth has them."""
        found = (depth for depth, blocks in BLOCKS.items() if blocks == self.blocks)
        return next((depth for depth in found if (depth >= 50) == self.bottleneck), 0)

    def words(self) -> str:
        """Say it in words: "a ResNet-34 in 2-D"."""
        name = f"ResNet-{self.depth}" if self.depth else f"ResNet of {'-'.join(map(str, self.blocks))} blocks"
        wide = "" if self.stem == 64 else f" with {self.stem} channels in its stem"
        kind = "" if self.shortcuts else ", shortcuts without weights (type A)"
        inside = "" if self.in_channels == 3 else f" for {self.in_channels} input channel{'s'[: self.in_channels > 1]}"
        return f"a {name} in {self.dims}-D{inside}{wide}{kind}"


class Guess(Config):
    """An encoder that fits a file.

    Args:
        encoder: catalog name.
        words: what the file looks like.
        dims: 2 or 3.
        width: multiple of the encoder's channel counts.
        in_channels: input channels.
        prefix: what stands before the encoder's names in the file.
        layout: "channels_last" where kernels are (*K, I, O).
    """

    encoder: str
    words: str
    dims: Literal[2, 3]
    width: float = 1.0
    in_channels: int
    prefix: str = ""
    layout: Literal["torch", "channels_last"] = "torch"


def identify(shapes: Shapes) -> tuple[Guess, ...]:
    """Return the catalog's encoders that a file may belong to, the likeliest first; empty where none is seen."""
    found = structure(shapes)
    if found is not None:
        return tuple(_resnet(found, name) for name in _names(found))
    return _genesis(shapes)


def structure(shapes: Shapes) -> Structure | None:
    """Read a ResNet's structure out of names and shapes; None where they are not a ResNet's."""
    matches = {name: found for name in shapes if (found := _BLOCK.fullmatch(name))}
    prefixes = Counter(found["prefix"] for found in matches.values())
    for prefix, _ in prefixes.most_common(4):
        inside = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        if any(re.fullmatch(r"layer1\.0\.conv\d\.weight", name) for name in inside):
            return _read(prefix, inside)
    return None


def _read(prefix: str, shapes: Shapes) -> Structure | None:
    """Read the structure from names without their prefix."""
    stages: dict[int, set[int]] = {}
    for name in shapes:
        if found := _BLOCK.fullmatch(name):
            stages.setdefault(int(found["stage"]), set()).add(int(found["block"]))
    stem = shapes.get("conv1.weight", ())
    if len(stem) not in {4, 5}:
        return None
    last = len(set(stem[:-2])) == 1 and stem[0] in {3, 7} and stem[0] < stem[-1]
    wide, inside, kernel = (stem[-1], stem[-2], stem[:-2]) if last else (stem[0], stem[1], stem[2:])
    return Structure(
        prefix=prefix,
        blocks=tuple(len(stages.get(stage, ())) for stage in range(1, 5)),
        bottleneck="layer1.0.conv3.weight" in shapes,
        shortcuts=any(name.startswith("layer2.0.downsample.") for name in shapes),
        dims=len(stem) - 2,
        in_channels=inside,
        stem=wide,
        kernel=kernel,
        halved=shapes.get("layer3.0.bn1.weight", (4 * wide,)) == (2 * wide,),
        channels_last=last,
    )


def _names(found: Structure) -> tuple[str, ...]:
    """Return the catalog's names for a structure; two where shapes cannot tell them apart."""
    depth = found.depth
    if not depth:
        return ()
    if found.halved or max(found.kernel) == 3:
        return (f"resnet{depth}_slim" if found.halved else f"resnet{depth}_small",)
    if found.dims == 3 and found.kernel[0] != found.kernel[-1]:
        return (f"resnet{depth}_slice",) if found.kernel[0] == 1 else (f"i3resnet{depth}",)
    grey = (f"medicalnet{depth}", f"kinetics{depth}")
    dilated = grey if found.in_channels == 1 else grey[::-1]
    if not found.shortcuts:
        return dilated
    if depth in {18, 34} or found.dims == 2:
        return (f"resnet{depth}",) if depth in {18, 34} else (f"resnet{depth}", f"medicalnet{depth}")
    return (*dilated, f"resnet{depth}")


def _resnet(found: Structure, name: str) -> Guess:
    return Guess(
        encoder=name,
        words=found.words(),
        dims=3 if found.dims == 3 else 2,
        width=found.stem / 64,
        in_channels=found.in_channels,
        prefix=found.prefix,
        layout="channels_last" if found.channels_last else "torch",
    )


def _genesis(shapes: Shapes) -> tuple[Guess, ...]:
    """Recognise Models Genesis' U-Net."""
    key = next((name for name in shapes if name.endswith(_GENESIS)), None)
    if key is None:
        return ()
    shape = shapes[key]
    dims: Literal[2, 3] = 3 if len(shape) == 5 else 2
    words = f"the U-Net of Models Genesis in {dims}-D"
    width = 2 * shape[0] / 64
    return (
        Guess(
            encoder="genesis", words=words, dims=dims, width=width, in_channels=shape[1], prefix=key[: -len(_GENESIS)]
        ),
    )
