"""Fingerprint: a few numbers that an encoder gives on a fixed input; names can lie, these cannot.

Equal names and shapes do not prove equal function: stride, dilation, the epsilon of a norm layer,
its running statistics and the order of the input channels leave every shape as it is. The probe
input is asymmetric on purpose: channels differ in gain and offset, and every axis has its own
ramp, so that swapped channels and swapped axes show.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from allograft.core.config import Config
from allograft.core.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allograft.nets.network import Encoder

__all__ = [
    "TOLERANCE",
    "Fingerprint",
    "check_fingerprint",
    "differences",
    "fingerprint",
    "probe_input",
    "probe_shape",
    "relative_difference",
    "stage_features",
]

TOLERANCE = 1e-3
"""Largest relative difference that different machines and thread counts may cause."""

_VALUES = 6
_SIDE = {2: 64, 3: 32}


class Fingerprint(Config):
    """Numbers of an encoder on the probe input.

    Args:
        seed: seed of the input.
        shape: shape of the input, (1, C, *S).
        stages: by stage: mean, population standard deviation, and values at 6 evenly spaced places
            of the stage's last features.
        shapes: by stage: shape of those features; a wrong stride shows here first.
    """

    seed: int = 0
    shape: tuple[int, ...]
    stages: Mapping[str, tuple[float, ...]]
    shapes: Mapping[str, tuple[int, ...]] = {}


def probe_input(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return the fixed input of `shape` (B, C, *S), float32, values in about [-2, 2].

    >>> probe_input((1, 3, 4, 4)).shape
    torch.Size([1, 3, 4, 4])
    """
    # RandomState's stream is frozen by numpy's policy; torch's may change between releases.
    x = np.random.RandomState(seed % 2**32).uniform(-1.0, 1.0, size=shape)
    channels, dims = shape[1], len(shape) - 2
    across = (-1, *[1] * dims)
    x *= np.linspace(0.5, 1.0, channels).reshape(across)
    x += np.linspace(-0.5, 0.5, channels).reshape(across) if channels > 1 else 0.0
    for axis in range(dims):
        along = [1] * dims
        along[axis] = -1
        x += (axis + 1) / (2 * dims) * np.linspace(-1.0, 1.0, shape[2 + axis]).reshape(along)
    return torch.from_numpy(x.astype(np.float32))


def probe_shape(channels: int, dims: int, size: tuple[int, ...] = (), *, least: int = 0) -> tuple[int, ...]:
    """Return the input shape of a probe: `size` where given, else 64 x 64 or 32 x 32 x 32, at least `least`."""
    return (1, channels, *(size or (max(_SIDE[dims], least),) * dims))


def stage_features(encoder: nn.Module, x: Tensor) -> OrderedDict[str, Tensor]:
    """Return the last features of each stage, in evaluation mode, in the order of the stages.

    A stage's features are what the last of its modules returns. A stage whose modules are never
    called as modules (bare parameters) has none. `output` holds the deepest level.
    """
    stages = cast("Encoder", encoder).stages()
    last: dict[str, Tensor] = {}
    handles = []
    for stage in stages:
        for name, module in encoder.named_modules():
            if any(name == p or name.startswith(p + ".") for p in stage.prefixes):
                handles.append(module.register_forward_hook(_keep(last, stage.name)))
    try:
        with _evaluating(encoder), torch.no_grad():
            levels = encoder(x)
    finally:
        for handle in handles:
            handle.remove()
    found = OrderedDict((s.name, last[s.name]) for s in stages if s.name in last)
    found["output"] = levels[-1].detach()
    return found


def fingerprint(encoder: nn.Module, shape: tuple[int, ...], seed: int = 0) -> Fingerprint:
    """Measure an encoder on the probe input of `shape` (1, C, *S)."""
    return _measure(stage_features(encoder, _placed(encoder, probe_input(shape, seed))), shape, seed)


def check_fingerprint(encoder: nn.Module, expected: Fingerprint, *, who: str, tolerance: float = TOLERANCE) -> float:
    """Compare an encoder with a fingerprint and return the largest relative difference.

    Raises:
        PlanError: a stage differs by more than `tolerance`; names the first one and the likely cause.
    """
    x = _placed(encoder, probe_input(expected.shape, expected.seed))
    found = _measure(stage_features(encoder, x), expected.shape, expected.seed)
    worst = 0.0
    for stage, numbers in expected.stages.items():
        difference = _gap(found, expected, stage, numbers)
        if not difference <= tolerance:
            cause = _cause(encoder, x, found, expected, stage, tolerance)
            msg = (
                f"{who}: the network does not compute what the card's fingerprint says. First in {stage}: relative "
                f"difference {difference:.3g}, at most {tolerance:g} expected. {cause}"
            )
            raise PlanError(msg)
        worst = max(worst, difference)
    return worst


def differences(encoder: nn.Module, expected: Fingerprint) -> dict[str, float]:
    """Return each stage's relative difference from a fingerprint; infinite where it is missing or of another shape."""
    x = _placed(encoder, probe_input(expected.shape, expected.seed))
    found = _measure(stage_features(encoder, x), expected.shape, expected.seed)
    return {stage: _gap(found, expected, stage, numbers) for stage, numbers in expected.stages.items()}


def relative_difference(a: Tensor, b: Tensor) -> float:
    """Return |a - b| / |b| in the L2 norm; 0 where both vanish, infinite for unlike shapes."""
    if a.shape != b.shape:
        return float("inf")
    gap, size = (a.double() - b.double()).norm(), b.double().norm()
    return float(gap / size) if size > 0 else (0.0 if gap == 0 else float("inf"))


def _gap(found: Fingerprint, expected: Fingerprint, stage: str, numbers: tuple[float, ...]) -> float:
    """Relative difference of one stage; infinite where it is missing or of another shape."""
    shape = expected.shapes.get(stage)
    if stage not in found.stages or (shape is not None and found.shapes[stage] != shape):
        return float("inf")
    return relative_difference(torch.tensor(found.stages[stage]), torch.tensor(numbers))


def _cause(
    encoder: nn.Module, x: Tensor, found: Fingerprint, expected: Fingerprint, stage: str, tolerance: float
) -> str:
    """Name the likely cause of a miss; the swap of channels is tried, not guessed."""
    if stage not in found.stages:
        return f"The network has no features for this stage; it has {', '.join(found.stages)}."
    want, got = expected.shapes.get(stage), found.shapes[stage]
    if want is not None and want != got:
        return f"Features have shape {got}, expected {want}: a stride, dilation or padding differs. Use another net."
    if x.shape[1] > 1:
        swapped = _measure(stage_features(encoder, x.flip(1)), expected.shape, expected.seed)
        if all(_gap(swapped, expected, s, v) <= tolerance for s, v in expected.stages.items()):
            return "With the input channels in reverse order it fits: the file is BGR and the card RGB, or vice versa."
    return (
        "Shapes agree, so look at dilation, norm statistics and epsilon, activation, channel or axis order, "
        "or averaged (EMA) weights in the file."
    )


def _measure(features: Mapping[str, Tensor], shape: tuple[int, ...], seed: int) -> Fingerprint:
    """Reduce features to a fingerprint, numbers rounded to 7 significant digits."""
    numbers = {}
    for stage, feature in features.items():
        flat = feature.double().flatten().cpu()
        places = torch.linspace(0, flat.numel() - 1, _VALUES).round().long()
        values = torch.cat([flat.mean()[None], flat.std(correction=0)[None], flat[places]])
        numbers[stage] = tuple(float(f"{v:.7g}") for v in values.tolist())
    shapes = {stage: tuple(feature.shape) for stage, feature in features.items()}
    return Fingerprint(seed=seed, shape=shape, stages=numbers, shapes=shapes)


def _keep(last: dict[str, Tensor], stage: str) -> Any:
    """Return a hook that keeps the newest tensor of a stage."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            # A copy, because an in-place activation behind the stage would change what was seen.
            last[stage] = output.detach().clone()

    return hook


def _placed(encoder: nn.Module, x: Tensor) -> Tensor:
    """Move an input to where the encoder's first parameter is."""
    first = next(encoder.parameters(), None)
    return x if first is None else x.to(first.device, first.dtype)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode for a while; each module gets its own mode back."""
    before = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, mode in before:
            each.training = mode
