"""Coverage: how much of an encoder a file gives, and how much of a file reaches it, in three measures.

By tensors a large layer counts like a small one, by numbers a wide network hides its norm layers, by norm
small numbers vanish: a fault that one measure hides shows in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite, prod

from pydantic import Field
from torch import nn

from allograft.core.config import Config
from allograft.nets.network import Network, stage_of
from allograft.weights.build import LEAST
from allograft.weights.fingerprint import TOLERANCE
from allograft.weights.kinds import slots
from allograft.weights.source import SourceWeights

__all__ = ["Shares", "StageShares", "Thresholds", "encoder_shares", "stage_shares", "wanted"]

Shapes = Mapping[str, tuple[int, ...]]

_HEADS = ("decoder.", "heads.")


class Thresholds(Config):
    """What a file must reach.

    Args:
        tensors: least share of the encoder's tensors that get a value, in [0, 1].
        numbers: least share of its numbers.
        norm: least share of the squared L2 norm of the file's encoder tensors that reaches the encoder.
        tolerance: largest relative difference of a stage's features, > 0.
    """

    tensors: float = Field(default=LEAST, ge=0, le=1)
    numbers: float = Field(default=LEAST, ge=0, le=1)
    norm: float = Field(default=LEAST, ge=0, le=1)
    tolerance: float = Field(default=TOLERANCE, gt=0)


class Shares(Config):
    """Shares in [0, 1].

    Args:
        tensors: of the encoder's tensors that got a value.
        numbers: of its numbers that got one.
        norm: of the squared L2 norm of the file's weights for this encoder that reached it; running statistics,
            whose unit is another, do not count.
    """

    tensors: float = 0.0
    numbers: float = 0.0
    norm: float = 0.0

    def below(self, least: Thresholds) -> str:
        """Say which share is too small; "" where none is."""
        low = [
            f"{100 * have:.1f} % of {what}, at least {100 * need:g} % expected"
            for have, need, what in (
                (self.tensors, least.tensors, "the encoder's tensors"),
                (self.numbers, least.numbers, "the encoder's numbers"),
                (self.norm, least.norm, "the norm of the file's encoder weights"),
            )
            if have < need
        ]
        return "; ".join(low)


class StageShares(Config):
    """One stage: tensors and numbers that got a value, of all that it has; norm of what arrived."""

    stage: str
    tensors: int
    of_tensors: int
    numbers: int
    of_numbers: int
    norm: float


def wanted(encoder: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors that an encoder needs: no counters, no tables that it makes itself."""
    found = slots(Network(encoder, {}))
    return {slot.source: slot.shape for slot in found if not slot.counter and slot.kind != "buffer"}


def encoder_shares(needed: Shapes, source: SourceWeights) -> Shares:
    """Return the shares of `needed` that a source gives unchanged; its values are read once.

    Args:
        needed: names and shapes of the encoder's tensors, as `wanted` returns them.
        source: the source.
    """
    got = [key for key, shape in needed.items() if source.shapes.get(key) == shape]
    sizes = {key: _square(source, key) for key in source if _counts(key)}
    total, taken = sum(sizes.values()), set(got)
    reached = sum(size for key, size in sizes.items() if key in taken)
    return Shares(
        tensors=_share(len(got), len(needed)),
        numbers=_share(_numbers(needed, got), _numbers(needed, needed)),
        norm=1.0 if got and total == 0 else _share(reached, total),
    )


def stage_shares(encoder: nn.Module, source: SourceWeights) -> tuple[StageShares, ...]:
    """Return one row for each stage of an encoder, in its order."""
    net = Network(encoder, {})
    needed, stages = wanted(encoder), net.stages()
    by_stage: dict[str, list[str]] = {}
    for key in needed:
        by_stage.setdefault(stage_of(f"encoder.{key}", stages), []).append(key)
    rows = []
    for stage, keys in by_stage.items():
        got = [key for key in keys if source.shapes.get(key) == needed[key]]
        norm = sum(_square(source, key) for key in got if _counts(key)) ** 0.5
        rows.append(
            StageShares(
                stage=stage,
                tensors=len(got),
                of_tensors=len(keys),
                numbers=_numbers(needed, got),
                of_numbers=_numbers(needed, keys),
                norm=float(f"{norm:.5g}"),
            )
        )
    return tuple(rows)


def _counts(key: str) -> bool:
    """Tell whether a tensor of the source counts in the norm."""
    return not key.startswith(_HEADS) and not key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _square(source: SourceWeights, key: str) -> float:
    tensor = source.raw(key)
    if not tensor.is_floating_point():
        return 0.0
    return float(tensor.float().norm()) ** 2


def _numbers(needed: Shapes, keys: Iterable[str]) -> int:
    return sum(prod(needed[key]) for key in keys)


def _share(part: float, whole: float) -> float:
    return part / whole if whole and isfinite(part) and isfinite(whole) else 0.0
