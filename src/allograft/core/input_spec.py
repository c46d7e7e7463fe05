"""InputSpec: what a network's weights expect of their input, applied by the data pipeline or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from allograft.core.channel_names import match_channels
from allograft.core.config import Config

__all__ = ["InputSpec"]


class InputSpec(Config):
    """The input contract of a set of weights.

    Args:
        channels: input channels the weights were trained on.
        channel_names: their meaning, in order; empty where unknown.
        low: value that the darkest input has before mean and std are applied.
        high: value of the brightest.
        mean: per channel, subtracted after scaling to [low, high]; empty for none.
        std: per channel, > 0; empty for none.
        size: spatial size the weights were trained at, empty where free.
        axes: order of the array axes, slowest first.
        spacing_mm: voxel spacing along `axes`, empty where unknown.
        window: intensity window in the image's own units (HU for CT), None for the full range.
        standard: whether each image was brought to zero mean and unit variance by itself, not by mean and std.
    """

    channels: int = 3
    channel_names: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    axes: Literal["HW", "DHW"] = "HW"
    spacing_mm: tuple[float, ...] = ()
    window: tuple[float, float] | None = None
    standard: bool = False

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `standard` out where it is false: it is newer than cards whose content names finished runs."""
        found: dict[str, Any] = write(self)
        return found if self.standard else {key: value for key, value in found.items() if key != "standard"}

    @model_validator(mode="after")
    def _per_channel(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std), ("channel_names", self.channel_names)):
            if values and len(values) != self.channels:
                msg = f"{name} has {len(values)} values for {self.channels} channels"
                raise ValueError(msg)
        if self.std and min(self.std) <= 0:
            msg = f"std must be positive, got {self.std}"
            raise ValueError(msg)
        if self.high <= self.low:
            msg = f"high ({self.high}) must exceed low ({self.low})"
            raise ValueError(msg)
        return self

    def for_channels(self, channels: int, names: Sequence[str] = ()) -> InputSpec:
        """Return the contract for other channels: each keeps the mean and std of the channel of its meaning.

        A channel that the contract does not know has the average of those that it shares with the data. Where
        no name is known on both sides, order counts, and another number of channels has the average of all: a
        compromise, because per-channel mean and std do not commute with replication, and the plan says so.

        Args:
            channels: of the data.
            names: what they mean, in order; empty where unknown.
        """
        found = match_channels(self.channel_names, names) if len(names) == channels else None
        if found is None:
            if channels == self.channels:
                return self.model_copy(update={"channel_names": tuple(names)}) if names else self
            found = (None,) * channels
        known = [index for index in found if index is not None] or list(range(self.channels))
        changes: dict[str, object] = {"channels": channels, "channel_names": tuple(names)}
        for field in ("mean", "std"):
            values: tuple[float, ...] = getattr(self, field)
            if values:
                average = sum(values[index] for index in known) / len(known)
                changes[field] = tuple(average if index is None else values[index] for index in found)
        return self.model_copy(update=changes)

    def for_dims(self, dims: int) -> InputSpec:
        """Return the contract of a network of other dimension made from these weights: size and spacing are open."""
        axes: Literal["HW", "DHW"] = "DHW" if dims == 3 else "HW"
        return self if axes == self.axes else self.model_copy(update={"axes": axes, "size": (), "spacing_mm": ()})
