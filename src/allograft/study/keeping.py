"""Keeping: a run's network as a bundle and as a source for other recipes."""

from __future__ import annotations

from pathlib import Path

from allograft.core.input_spec import InputSpec
from allograft.infer.bundle import Bundle, save_bundle
from allograft.nets.network import Network
from allograft.study.arm import Arm
from allograft.study.lab import RunLab
from allograft.weights.source import SourceWeights

__all__ = ["keep_bundle"]


def keep_bundle(folder: Path, lab: RunLab, net: Network, temperature: float) -> None:
    """Write the run's network, what it expects and its weight card into `folder`."""
    arm = lab.arm
    parent = arm.source.card if arm.source else None
    dims = net.shape.dims
    expects = parent.expects.for_channels(arm.in_channels) if parent else _own_contract(arm, dims)
    name = f"{lab.key.recipe}-{lab.key.id}"
    card = SourceWeights.of(net, name, expects, arm.recipe.net.encoder, seen=(lab.key.dataset,), parent=parent)
    card.card = card.card.model_copy(update={"width": arm.recipe.net.width})
    bundle = Bundle(
        net=arm.recipe.net,
        task=arm.task,
        in_channels=arm.in_channels,
        preprocess=arm.store.index.preprocess,
        normalise=arm.normalise,
        size=arm.store.shape[1:],
        temperature=temperature,
        precision=arm.device.precision,
        run=lab.key.id,
        licences=(f"{parent.name}: {parent.license}",) if parent else (),
        notes=lab.notes,
    )
    save_bundle(folder, bundle, net, card)


def _own_contract(arm: Arm, dims: int) -> InputSpec:
    """Return the input contract of a network that was trained without a card: its training cases' mean and std."""
    scale, shift = arm.normalise.scale, arm.normalise.shift  # x * scale + shift = (x - mean) / std
    return InputSpec(
        channels=arm.in_channels,
        mean=tuple(-b / a for a, b in zip(scale, shift, strict=True)),
        std=tuple(1 / a for a in scale),
        axes="DHW" if dims == 3 else "HW",
    )
