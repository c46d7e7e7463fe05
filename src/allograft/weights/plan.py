"""TransferPlan: one row for every tensor of a network, made and proven before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from allograft.core.config import Config
from allograft.core.errors import PlanError
from allograft.weights.rules import CONVERSIONS, Action, Kind

__all__ = ["Coverage", "Entry", "Learns", "TransferPlan", "Unused"]

Learns = tuple[tuple[int, float], ...]
"""Schedule of the learning-rate scale: ((from_step, scale), ...), first from_step 0; 0 is frozen."""


class Entry(Config):
    """What becomes of one tensor of the network.

    Args:
        target: its name in `Network.state_dict()`.
        stage: the stage it lies in.
        kind: what it is.
        shape: its shape.
        action: where its value comes from.
        learns: how it learns, ((from_step, scale), ...).
        source: name in the source file that gives the value, None for fresh.
        source_shape: shape there.
        args: numbers of the conversion, e.g. {"fill": "centre"}.
        why: the reason.
    """

    target: str
    stage: str
    kind: Kind
    shape: tuple[int, ...]
    action: Action
    learns: Learns = ((0, 1.0),)
    source: str | None = None
    source_shape: tuple[int, ...] | None = None
    args: Mapping[str, float | int | str] = Field(default_factory=dict)
    why: str = ""

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds."""
        out = 1
        for n in self.shape:
            out *= n
        return out

    @property
    def frozen(self) -> bool:
        """Whether it never learns."""
        return all(scale == 0 for _, scale in self.learns)

    def scale_at(self, step: int) -> float:
        """Return the learning-rate scale in force at `step`."""
        return next(scale for start, scale in reversed(self.learns) if start <= step)


class Unused(Config):
    """A tensor of the source that no tensor of the network takes its value from.

    Args:
        source: its name in the file.
        shape: its shape.
        why: the reason.
    """

    source: str
    shape: tuple[int, ...]
    why: str


class Coverage(Config):
    """Shares of the network's numbers by fate, in [0, 1]; adapted: rescaled, inflated and the like."""

    copied: float
    adapted: float
    sampled: float
    computed: float
    fresh: float
    frozen: float


class TransferPlan(Config):
    """Every tensor's fate.

    Args:
        start: name of the start that made the plan.
        tuning: name of the tuning that filled `learns`, "" before.
        source: name of the weight source, None for none.
        entries: one for each key of the network's state dict, in its order.
        unused: source tensors without a use.
        problems: what is wrong; a plan with problems is never applied.
        notes: what the reader should know (input contract, licences, contamination).
    """

    start: str
    tuning: str = ""
    source: str | None = None
    entries: tuple[Entry, ...]
    unused: tuple[Unused, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def model_post_init(self, context: Any, /) -> None:
        """Refuse two rows for one tensor."""
        if len({entry.target for entry in self.entries}) != len(self.entries):
            msg = "a plan has one row per tensor; this one names a tensor twice."
            raise ValueError(msg)

    def coverage(self) -> Coverage:
        """Return the shares of numbers (norm counters and other integers included)."""
        total = max(1, sum(entry.numbers for entry in self.entries))
        adapted = {*CONVERSIONS, Action.SELECT}
        share = {a: sum(e.numbers for e in self.entries if e.action is a) / total for a in Action}
        return Coverage(
            copied=share[Action.COPY],
            adapted=sum(share[a] for a in adapted),
            sampled=share[Action.SAMPLE],
            computed=share[Action.COMPUTE],
            fresh=share[Action.FRESH],
            frozen=sum(e.numbers for e in self.entries if e.frozen) / total,
        )

    def with_learns(self, learns: Mapping[str, Learns], *, tuning: str) -> TransferPlan:
        """Return the plan with `learns` of the named tensors replaced."""
        entries = tuple(
            e.model_copy(update={"learns": learns[e.target]}) if e.target in learns else e for e in self.entries
        )
        return self.model_copy(update={"entries": entries, "tuning": tuning})

    def with_notes(self, *notes: str) -> TransferPlan:
        """Return the plan with further notes; those it has already are not repeated."""
        return self.model_copy(update={"notes": tuple(dict.fromkeys((*self.notes, *notes)))})

    def require_sound(self) -> None:
        """Raise where the plan has problems.

        Raises:
            PlanError: lists the problems.
        """
        if self.problems:
            shown = "\n  ".join(self.problems[:12])
            more = f"\n  ... and {len(self.problems) - 12} more" if len(self.problems) > 12 else ""
            msg = f'start "{self.start}", source {self.source}: {len(self.problems)} problems.\n  {shown}{more}'
            raise PlanError(msg)
