"""Normalise: bring stored values to what a network's weights expect, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allograft.core.channel_names import channel_words, match_channels
from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.core.input_spec import InputSpec
from allograft.data.preprocess import Preprocess, Space
from allograft.data.store import Store

__all__ = ["Normaliser", "fit_statistics", "normalise", "normaliser"]


class Normaliser(Config):
    """A linear map of values, one for each channel: x * scale + shift.

    Args:
        scale: per channel; empty changes nothing.
        shift: per channel.
        note: what is done and why, for the plan.
    """

    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    note: str = "values enter the network as stored."

    def __call__(self, x: Tensor) -> Tensor:
        """Return (B, C, *S) mapped.

        Raises:
            DataError: x has another number of channels.
        """
        if not self.scale:
            return x
        if x.shape[1] != len(self.scale):
            msg = f"images have {x.shape[1]} channels, the input contract was made for {len(self.scale)}."
            raise DataError(msg)
        view = (-1, *[1] * (x.ndim - 2))
        scale, shift = (torch.tensor(v, dtype=x.dtype).reshape(view) for v in (self.scale, self.shift))
        return x * scale + shift

    @property
    def neutral(self) -> tuple[float, ...]:
        """Stored value of each channel that enters the network as 0; empty where values enter as stored."""
        return tuple(-b / a for a, b in zip(self.scale, self.shift, strict=True))

    def contract(self, channels: int, dims: int, names: Sequence[str] = ()) -> InputSpec:
        """Return what a network that was trained behind this map expects: x * scale + shift = (x - mean) / std."""
        return InputSpec(
            channels=channels,
            channel_names=tuple(names),
            mean=self.neutral,
            std=tuple(1 / a for a in self.scale),
            axes="DHW" if dims == 3 else "HW",
        )


def normaliser(
    expects: InputSpec | None,
    space: Space,
    channels: int,
    *,
    preprocess: Preprocess | None = None,
    names: Sequence[str] = (),
) -> Normaliser:
    """Return the map from stored values to a card's input contract.

    Args:
        expects: the card's contract, None without a card.
        space: what stored values are.
        channels: channels of the stored images.
        preprocess: how they were made, to check the card's intensity window; None skips the check.
        names: what the channels mean, in order: each gets the mean and std of the card's channel of that meaning.

    Raises:
        DataError: the card demands an intensity window, or standardised images, and the stored values are others.
    """
    if expects is None:
        return Normaliser(note=f"no input contract; {_SPACES[space]} enter the network as stored.")
    if preprocess is not None:
        _check_intensity(expects, preprocess)
    if space == "standard" and expects.standard:
        return Normaliser(note=f"{_SPACES[space]}, as the weights expect, enter as stored.")
    if space == "standard":
        return Normaliser(note=f"{_SPACES[space]} enter as stored; the contract's mean and std are not applied again.")
    spec = expects.for_channels(channels, names)
    mean = np.asarray(spec.mean or (0.0,) * channels)
    std = np.asarray(spec.std or (1.0,) * channels)
    note = f"{_SPACES[space]} scaled to [{spec.low:g}, {spec.high:g}]"
    if spec.mean or spec.std:
        note += f", minus mean {_numbers(mean)}, divided by std {_numbers(std)}"
        note += _mapped(expects, channels, names)
    scale = (spec.high - spec.low) / std
    return Normaliser(scale=tuple(scale.tolist()), shift=tuple(((spec.low - mean) / std).tolist()), note=note + ".")


def normalise(x: Tensor, expects: InputSpec | None, space: Space) -> tuple[Tensor, str]:
    """Apply a card's contract to (B, C, *S); return the result and the sentence for the plan."""
    chosen = normaliser(expects, space, x.shape[1])
    return chosen(x), chosen.note


def fit_statistics(store: Store, ids: Sequence[str]) -> InputSpec:
    """Return a contract with the mean and std of `ids`, for networks without a card.

    Args:
        store: with values in [0, 1]; standardised values need no statistics.
        ids: training cases only, else the test data leak.

    Raises:
        DataError: no cases, or a channel is constant over all of them.
    """
    if not ids:
        msg = "statistics need at least one training case, got none."
        raise DataError(msg)
    channels = store.channels
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for name in ids:  # one at a time: volumes need not fit into memory together
        values = store.image(name).astype(np.float64).reshape(channels, -1)
        count += values.shape[1]
        total += values.sum(axis=1)
        squares += (values**2).sum(axis=1)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    if std.min() < 1e-6:
        msg = (
            f"channel {int(std.argmin())} is constant over all {len(ids)} training images. Check preprocess and files."
        )
        raise DataError(msg)
    return InputSpec(
        channels=channels,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        axes="HW" if store.dims == 2 else "DHW",
    )


def _mapped(expects: InputSpec, channels: int, names: Sequence[str]) -> str:
    """Say how the card's channels became those of the data, where they are not the same."""
    found = match_channels(expects.channel_names, names) if len(names) == channels else None
    if found is not None and found != tuple(range(expects.channels)):
        return f" (channels by name: {channel_words(expects.channel_names, names, found, 'mean of known')})"
    if found is None and channels != expects.channels:
        return f" (the card's {expects.channels} channels averaged for {channels})"
    return ""


_SPACES: dict[Space, str] = {"unit": "values in [0, 1]", "standard": "values of zero mean and unit variance"}


def _check_intensity(expects: InputSpec, preprocess: Preprocess) -> None:
    if expects.standard and preprocess.space == "unit":
        msg = (
            "the weights expect that each image has zero mean and unit variance, the images were prepared with "
            f"{preprocess.intensity}. Set preprocess: {{intensity: standard}}."
        )
        raise DataError(msg)
    _check_window(expects, preprocess)


def _check_window(expects: InputSpec, preprocess: Preprocess) -> None:
    if expects.window is None:
        return
    have = (preprocess.low, preprocess.high)
    if preprocess.space != "unit" or have != expects.window:
        low, high = expects.window
        got = f"{preprocess.intensity}" + (f" {have[0]:g} to {have[1]:g}" if have[0] is not None else "")
        msg = (
            f"the weights expect the intensity window {low:g} to {high:g}, the images were prepared with {got}. "
            f"Set preprocess: {{intensity: window, low: {low:g}, high: {high:g}}}."
        )
        raise DataError(msg)


def _numbers(values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
