"""Fit of positions: how learned positions and tables of relative ones get from one grid to another."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from allograft.core.input_spec import InputSpec
from allograft.weights.kinds import Slot
from allograft.weights.rules import Action

__all__ = ["Fit", "fit_positions", "grid_text", "read_grid"]

Shape = tuple[int, ...]

_PREFIXES = (0, 1, 2, 5)
"""Tokens without a place that vision transformers have: class, distillation, registers."""


class Fit(NamedTuple):
    """A conversion that is defined: the action, its numbers, and a remark for `why`."""

    action: Action
    args: Mapping[str, float | int | str] = {}
    remark: str = ""


def fit_positions(slot: Slot, source: Shape, expects: InputSpec | None = None) -> Fit | str:
    """Return how positions of shape `source` become the network's, or a sentence saying why they cannot.

    Positions are (1, prefix + tokens, F), tables of relative ones (offsets + extra, heads). The network's grid is
    what its module says, else of equal sides. The source's has the proportions of its input contract's size where
    that is known, else equal sides.

    Args:
        slot: the tensor.
        source: shape of the source's.
        expects: the source's input contract.
    """
    axis = 0 if slot.table else 1
    wrong = f"positions {source} cannot become {slot.shape}"
    if len(source) != len(slot.shape) or any(
        n != m for i, (n, m) in enumerate(zip(source, slot.shape, strict=True)) if i != axis
    ):
        return wrong
    size = expects.size if expects is not None and not slot.table else ()
    same = source == slot.shape
    for prefix, new in _grids(slot, axis):
        old = _source_grid(source[axis] - prefix, len(new), size) or (new if same else ())
        if old == new:
            return Fit(Action.COPY)
        if old:
            args: dict[str, float | int | str] = {
                "table": int(slot.table),
                "prefix": prefix,
                "old": grid_text(old),
                "new": grid_text(new),
            }
            what = "offsets" if slot.table else "grid"
            return Fit(Action.RESAMPLE, args, f"{what} {grid_text(old)} to {grid_text(new)}")
    return Fit(Action.COPY) if same else wrong + ", because no grids of equal sides fit"


def grid_text(grid: Shape) -> str:
    """Return a grid as text.

    >>> grid_text((2, 3))
    '2x3'
    """
    return "x".join(map(str, grid))


def read_grid(text: str) -> Shape:
    """Return the grid of a text that `grid_text` wrote."""
    return tuple(int(n) for n in text.split("x"))


def _grids(slot: Slot, axis: int) -> list[tuple[int, Shape]]:
    """Return how the network's tokens may be split into a prefix and a grid."""
    tokens = slot.shape[axis]
    if slot.grid:
        rest = tokens - prod(slot.grid)
        return [(rest, slot.grid)] if rest >= 0 else []
    sides = [(prefix, _side(tokens - prefix, slot.dims)) for prefix in _PREFIXES]
    return [(prefix, (side,) * slot.dims) for prefix, side in sides if side]


def _source_grid(tokens: int, dims: int, size: Shape) -> Shape:
    """Return the source's grid, () where there is none."""
    if tokens > 0 and len(size) == dims:
        patch = round((prod(size) / tokens) ** (1 / dims))
        grid = tuple(n // max(1, patch) for n in size)
        if prod(grid) == tokens:
            return grid
    side = _side(tokens, dims)
    return (side,) * dims if side else ()


def _side(tokens: int, dims: int) -> int:
    """Return n with n ** dims == tokens, 0 where there is none."""
    side = round(max(tokens, 0) ** (1 / dims))
    return side if side**dims == tokens else 0
