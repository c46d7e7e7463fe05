"""Continuation: a further stage of the same task, and the target's images that it may read."""

from __future__ import annotations

from allograft.contracts import Lab, Started
from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.nets.network import Network
from allograft.starts.full import Full

__all__ = ["go_on", "target_of"]


def go_on(lab: Lab, net: Network, stage: str) -> Started:
    """Return a network that begins as `net` ended, tensor for tensor, with a plan that says so."""
    return lab.start(source=lab.source(net, stage), start=Full(decoder="copy", heads="copy"))


def target_of(lab: Lab, who: str) -> Cohort:
    """Return the target's training cases, which carry no labels.

    Raises:
        ConfigError: the study has no target domain.
    """
    if "target" not in lab.cohorts:
        msg = (
            f"{who}: there is no target domain to adapt to. Give the data set a shift: {{target: [SITE]}}, with the "
            "domain of each case in a column named as domain."
        )
        raise ConfigError(msg)
    return lab.cohorts["target"]
