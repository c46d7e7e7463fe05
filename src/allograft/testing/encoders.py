"""Contract suite of encoders, and the tiny one that tests use.

`check_encoder(factory, dims)` runs all checks; each is public, so that a failing one can be run alone.
They raise AssertionError with what was declared and what came out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from allograft.nets.build import EncoderFactory
from allograft.nets.encoders.cbr import CBR, CBRForm
from allograft.nets.network import Encoder, axis_strides, stage_of

__all__ = [
    "check_encoder",
    "check_eval_is_deterministic",
    "check_every_parameter_learns",
    "check_flat_volume",
    "check_levels",
    "check_meta",
    "check_stages",
    "tiny_encoder",
]


def tiny_encoder(dims: int, in_channels: int = 1, width: float = 1.0, drop_path: float = 0.0) -> nn.Module:
    """Return a CBR of two units, 6 and 12 channels, under 5000 parameters; by keyword an `EncoderFactory`."""
    form = CBRForm(3, (6, 12))
    return CBR(form, dims=dims, in_channels=in_channels, width=width, drop_path=drop_path)


def check_encoder(factory: EncoderFactory, dims: int, *, size: int = 32, in_channels: int = 2) -> None:
    """Run the suite for an encoder of `dims` on images of `size` along each axis.

    Args:
        factory: makes the encoder.
        dims: 2 or 3.
        size: a multiple of the largest stride.
        in_channels: channels of the image.

    Raises:
        AssertionError: a part of the contract does not hold.
    """
    with _seeded(0):
        encoder = factory(dims=dims, in_channels=in_channels, width=1.0, drop_path=0.0)
        x = torch.randn(2, in_channels, *[size] * dims)
    check_levels(encoder, x)
    check_stages(encoder)
    check_every_parameter_learns(encoder, x)
    check_eval_is_deterministic(encoder, x)
    check_meta(factory, encoder)


def check_levels(encoder: nn.Module, x: Tensor) -> None:
    """Declared dims, channels and strides are what comes out of images `x` (B, C, *S)."""
    shape = cast("Encoder", encoder)
    assert isinstance(encoder, Encoder), f"{type(encoder).__name__} lacks a part of the Encoder protocol"
    assert shape.dims == x.ndim - 2, f"declares dims {shape.dims}, takes {x.ndim - 2}"
    assert shape.in_channels == x.shape[1], f"declares in_channels {shape.in_channels}, takes {x.shape[1]}"
    with torch.no_grad():
        levels = encoder.eval()(x)
    assert isinstance(levels, tuple), f"levels are a tuple, got {type(levels).__name__}"
    assert len(levels) == len(shape.channels) == len(shape.strides), "one channel count and stride for each level"
    for i, (level, channels, strides) in enumerate(zip(levels, shape.channels, axis_strides(shape), strict=True)):
        space = tuple(1 if s == 0 else n // s for n, s in zip(x.shape[2:], strides, strict=True))
        expected = (x.shape[0], channels, *space)
        assert tuple(level.shape) == expected, f"level {i}: declared {expected}, came {tuple(level.shape)}"
        assert torch.isfinite(level).all(), f"level {i} is not finite"


def check_stages(encoder: nn.Module) -> None:
    """Every tensor of the state dict lies in exactly one stage, and no stage is empty."""
    stages = cast("Encoder", encoder).stages()
    names = [s.name for s in stages]
    assert len(set(names)) == len(names), f"stage names must differ: {names}"
    held = set()
    for key in encoder.state_dict():
        try:
            held.add(stage_of(key, stages))
        except ValueError as error:
            raise AssertionError(str(error)) from error
    assert held == set(names), f"stages without a tensor: {sorted(set(names) - held)}"


def check_every_parameter_learns(encoder: nn.Module, x: Tensor) -> None:
    """A random projection of the levels gives each parameter a gradient that is not all zero.

    Parameters that start at zero (a residual branch's last norm) are moved first, on a copy: what is
    checked is the wiring.
    """
    copy = deepcopy(encoder).eval()
    with _seeded(1):
        for p in copy.parameters():
            if not bool(p.any()):
                nn.init.normal_(p, std=0.1)
        total = torch.stack([(torch.randn_like(level) * level).mean() for level in copy(x)]).sum()
    total.backward()  # type: ignore[no-untyped-call] # torch's own
    idle = [name for name, p in copy.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not idle, f"{len(idle)} parameters get no gradient, first: {idle[:3]}"


def check_eval_is_deterministic(encoder: nn.Module, x: Tensor) -> None:
    """In evaluation the same image gives the same levels, whatever its batch mates and the random state."""
    encoder.eval()
    with torch.no_grad():
        first, again, alone = encoder(x), encoder(x), encoder(x[:1])
    for i, (a, b, c) in enumerate(zip(first, again, alone, strict=True)):
        assert torch.equal(a, b), f"level {i} differs between two evaluations"
        scale = float(a.abs().max())
        assert torch.allclose(a[:1], c, atol=1e-4 * scale), f"level {i} depends on other cases of the batch"


def check_meta(factory: EncoderFactory, encoder: nn.Module) -> None:
    """Built on the meta device, the encoder has the same tensors and stages, and no numbers."""
    real = cast("Encoder", encoder)
    with torch.device("meta"):
        shapes = factory(dims=real.dims, in_channels=real.in_channels, width=1.0, drop_path=0.0)
    found = {key: tuple(t.shape) for key, t in shapes.state_dict().items()}
    assert found == {key: tuple(t.shape) for key, t in encoder.state_dict().items()}, "tensors differ on meta"
    assert all(t.is_meta for t in shapes.state_dict().values()), "a tensor built under meta holds numbers"
    assert cast("Encoder", shapes).stages() == real.stages(), "stages differ on meta"


def check_flat_volume(factory: EncoderFactory, *, size: int = 32, in_channels: int = 1) -> None:
    """The 3-D encoder with 2-D kernels in its central slices equals the 2-D one on a volume of equal slices.

    Random weights and random norm statistics; every slice of every level, borders included.
    """
    with _seeded(2):
        flat = factory(dims=2, in_channels=in_channels, width=1.0, drop_path=0.0).eval()
        solid = factory(dims=3, in_channels=in_channels, width=1.0, drop_path=0.0).eval()
        _randomise_norms(flat)
        image = torch.randn(1, in_channels, size, size)
    solid.load_state_dict({k: _central(v, solid.state_dict()[k].shape) for k, v in flat.state_dict().items()})
    with torch.no_grad():
        levels_2d, levels_3d = flat(image), solid(image[:, :, None].expand(-1, -1, size, -1, -1).contiguous())
    for i, (a, b) in enumerate(zip(levels_2d, levels_3d, strict=True)):
        gap = float((a[:, :, None] - b).abs().max() / a.abs().max().clamp(min=1e-12))
        assert gap < 1e-4, f"level {i}: relative difference {gap:.1e} between 2-D and 3-D"


def _central(value: Tensor, shape: torch.Size) -> Tensor:
    if value.shape == shape:
        return value
    out = value.new_zeros(shape)
    out[:, :, shape[2] // 2] = value
    return out


def _randomise_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
