"""Keeping: a run's network as a bundle and as a source for other recipes."""

from __future__ import annotations

from pathlib import Path

from allograft.infer.bundle import Bundle, save_bundle
from allograft.nets.network import Network
from allograft.study.lab import RunLab
from allograft.weights.contamination import licence_words

__all__ = ["keep_bundle"]


def keep_bundle(folder: Path, lab: RunLab, net: Network, temperature: float) -> None:
    """Write the run's network, what it expects and its weight card into `folder`."""
    arm = lab.arm
    parent = arm.source.card if arm.source else None
    card = lab.source(net, f"{lab.key.recipe}-{lab.key.id}")
    bundle = Bundle(
        net=lab.spec_of(net).for_tasks([arm.task]),
        task=arm.task,
        in_channels=arm.in_channels,
        preprocess=arm.pool.store.index.preprocess,
        normalise=arm.pool.normalise,
        patches=arm.pool.patches,
        views=arm.pool.views,
        size=arm.pool.shape[1:],
        temperature=temperature,
        precision=arm.device.precision,
        run=lab.key.id,
        licences=(f"{parent.name}: {licence_words(parent)}",) if parent else (),
        notes=lab.notes,
    )
    save_bundle(folder, bundle, net, card)
