"""Roles: how many cases each stream of an objective takes from a batch, and what is said where a role is empty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from allograft.contracts import StreamSpec
from allograft.core.errors import ConfigError

__all__ = ["role_missing", "stream_counts"]


def stream_counts(streams: Mapping[str, StreamSpec], batch: int) -> dict[str, int]:
    """Return the cases in a step of each stream: what it states, else its share of the budget's batch, at least 1.

    Shares are rounded so that their running sum is right: halves of 5 are 3 and 2.

    >>> stream_counts({"a": StreamSpec(share=0.5), "b": StreamSpec(share=0.5), "c": StreamSpec(batch=7)}, 5)
    {'a': 3, 'b': 2, 'c': 7}
    """
    counts, upto, given = {}, 0.0, 0
    for name, spec in streams.items():
        if spec.batch:
            counts[name] = spec.batch
            continue
        upto += spec.share * batch
        now = math.floor(upto + 0.5)
        counts[name], given = max(1, now - given), now
    return counts


def role_missing(where: str, stream: str, role: str, given: Iterable[str]) -> ConfigError:
    """Return the error for a stream whose role nobody fills.

    Args:
        where: recipe and stage.
        stream: its name.
        role: that it reads.
        given: roles that the study fills.
    """
    known = ", ".join(sorted(given))
    if role == "unlabelled":
        return ConfigError(
            f'{where}: its objective reads unlabelled cases (stream "{stream}"), and here every training case is '
            "labelled. Name label_fractions below 1 (not 1 itself), or label_counts, or give cases without a "
            "label in the data; or take an objective that needs none, such as supervised."
        )
    if role == "target":
        return ConfigError(
            f'{where}: its objective reads unlabelled cases of a target domain (stream "{stream}"). Give the data set '
            "a shift: {target: [SITE]}, with the domain of each case in a column named as domain."
        )
    return ConfigError(
        f'{where}: its objective reads a stream "{stream}" of role "{role}", which this study does not give; '
        f"it gives {known}."
    )
