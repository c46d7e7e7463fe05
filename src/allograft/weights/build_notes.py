"""Notes of a plan: proof, licence and input contract of its source."""

from __future__ import annotations

from collections.abc import Sequence

from allograft.core.channel_names import channel_words, match_channels
from allograft.core.input_spec import InputSpec
from allograft.weights.contamination import licence_note
from allograft.weights.source import SourceWeights

__all__ = ["source_notes"]


def source_notes(
    source: SourceWeights, *, channels: int, names: Sequence[str], encoder: str, further: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what the reader should know: proof, licence, input contract.

    Args:
        source: the weights.
        channels: of the network's images.
        names: what they mean, empty where unknown.
        encoder: catalog name of the network's encoder, "" where unknown.
        further: convolutions beside the first that take as many channels as the image.
    """
    card, spec = source.card, source.card.expects
    sha = "sha256 ok" if source.verified and card.sha256 else "sha256 not known"
    notes = [f"source: {card.title} ({card.license}; {'in memory' if source.verified and not card.sha256 else sha})"]
    values = "each image of zero mean and unit variance" if spec.standard else f"in [{spec.low:g}, {spec.high:g}]"
    text = f"input: {spec.channels} channels {values}, axes {spec.axes}"
    text += f", mean {list(spec.mean)}, std {list(spec.std)}" if spec.mean or spec.std else ", no mean and std"
    notes.append(text + (f", window {list(spec.window)}" if spec.window else ""))
    notes += _channel_notes(spec, channels, names, further)
    if encoder and encoder != card.encoder:
        notes.append(
            f'encoder: the weights belong to "{card.encoder}", the network is "{encoder}"; equal shapes do not prove '
            "equal function, only the probe does"
        )
    if card.fingerprint is None:
        notes.append(
            "proof: unproven: the card has no fingerprint, so order of channels and axes, strides and averaged weights "
            "cannot show (allograft weights check)"
        )
    return (*notes, *filter(None, [licence_note(card)]))


def _channel_notes(spec: InputSpec, channels: int, names: Sequence[str], further: Sequence[str]) -> list[str]:
    """Say how channels meet, where that is not plain."""
    if found := match_channels(spec.channel_names, names):
        if found == tuple(range(spec.channels)):
            return []
        said = [f"input: channels by name: {channel_words(spec.channel_names, names, found, 'new')}"]
        if further:
            said.append(
                f"input: only the first convolution was put in the data's order; {len(further)} more take as "
                f"many channels ({further[0]} ...). If they see the image, order the data's channels as the card's: "
                f"{', '.join(spec.channel_names)}"
            )
        return said
    if channels != spec.channels and (spec.mean or spec.std):
        return [
            f"input: mean and std of {spec.channels} channels are averaged for {channels}; a compromise, because they "
            "do not commute with replication"
        ]
    return []
