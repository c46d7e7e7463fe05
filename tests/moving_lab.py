"""A lab whose stages move the encoder too; it keeps what stages began with and were given."""

from __future__ import annotations

import torch

from allograft.contracts import Started
from allograft.nets.network import Network
from allograft.testing.fake_lab import FakeLab

__all__ = ["MovingLab"]


class MovingLab(FakeLab):
    """A lab whose stages move the encoder too; it keeps what the last stage began with, and what it was given."""

    begun: Started | None = None
    first: dict
    tasks: list
    labels: dict

    def start(self, **settings):
        self.tasks = [*getattr(self, "tasks", []), settings.get("tasks")]
        return super().start(**settings)

    def train(self, stage: str, started: Started, **settings) -> Network:
        self.begun = started
        self.first = {key: value.clone() for key, value in started.net.state_dict().items()}
        given = settings.get("cohorts") or {}
        self.labels = {**getattr(self, "labels", {}), **{role: len(c.labelled()) for role, c in given.items()}}
        net = super().train(stage, started, **settings)
        with torch.no_grad():
            for parameter in net.encoder.parameters():
                parameter.add_(0.25)
        return net
