"""Subgroups: cases of a cohort by site, scanner or any column of its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from allograft.core.errors import ConfigError, did_you_mean
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.manifest import DOMAIN_NAMES

__all__ = ["subgroups"]

UNKNOWN = "(unknown)"
MANY = 8
"""A column of numbers with more different values than this is cut into quarters (ours)."""


def subgroups(
    cohort: Cohort, columns: Sequence[str], *, site: str | None = None
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield column, value and ids of each subgroup, values in order.

    Args:
        cohort: the cases.
        columns: of the cohort's table; "site" and its usual other names mean the domain, "split" the split.
        site: what the table calls the domain where the user said so.

    Raises:
        ConfigError: no case has such a column.
    """
    for column in columns:
        values = _values(cohort, column, {*DOMAIN_NAMES, *([site] if site else [])})
        for value in sorted(set(values.values()), key=_order):
            yield column, value, tuple(name for name, own in values.items() if own == value)


def _values(cohort: Cohort, column: str, domain_names: set[str]) -> Mapping[str, str]:
    found = {case.id: _value(case, column, domain_names) for case in cohort}
    if not any(found.values()):
        known = {name for case in cohort for name in case.attributes} | {"split" for c in cohort if c.split}
        known |= {"site" for case in cohort if case.domain}
        msg = f'--by "{column}": no such column, or it is empty. {did_you_mean(column, known)}'
        raise ConfigError(msg)
    return _quarters(found) or {name: value or UNKNOWN for name, value in found.items()}


def _value(case: Case, column: str, domain_names: set[str]) -> str:
    if column in case.attributes:
        return case.attributes[column].strip()
    if column in domain_names:
        return case.domain
    return case.split if column == "split" else ""


def _quarters(found: Mapping[str, str]) -> dict[str, str] | None:
    """Cut many different numbers at their quartiles; None where the column holds anything else."""
    try:
        numbers = {name: float(value) for name, value in found.items() if value}
    except ValueError:
        return None
    if len(set(numbers.values())) <= MANY:
        return None
    edges = np.unique(np.quantile(list(numbers.values()), (0, 0.25, 0.5, 0.75, 1)))
    out = {}
    for name, value in found.items():
        if not value:
            out[name] = UNKNOWN
            continue
        k = min(int(np.searchsorted(edges, float(value), side="right")) - 1, len(edges) - 2)
        out[name] = f"{edges[k]:g} to {edges[k + 1]:g}"
    return out


def _order(value: str) -> tuple[bool, float, str]:
    """Sort numbers and ranges by their beginning, texts by name, unknown last."""
    try:
        return value == UNKNOWN, float(value.split(" to ", maxsplit=1)[0]), value
    except ValueError:
        return value == UNKNOWN, float("inf"), value
