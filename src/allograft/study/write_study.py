"""Write a study file for people: the fields in order, each with the reason for its value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from allograft.study.propose import Proposal

__all__ = ["study_text"]

WIDTH = 110


def study_text(proposal: Proposal, header: Sequence[str]) -> str:
    """Return a commented YAML study; reading it back gives the proposal's study.

    Args:
        proposal: the study and its reasons.
        header: lines for the top, without "#".
    """
    lines = [comment for text in header for comment in _comment(text)]
    lines.append("")
    for field, value in proposal.study.items():
        lines += _comment(proposal.why[field]) if field in proposal.why else []
        if field in {"recipes", "datasets"}:
            lines.append(f"{field}:")
            lines += _list(value, field, proposal.why)
        elif field == "common":
            lines.append("common:")
            for name, inner in value.items():
                lines += [f"  {line}" for line in _comment(proposal.why.get(name, ""))]
                lines.append(f"  {name}: {_flow(inner)}")
        else:
            lines.append(f"{field}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _list(rows: Sequence[Mapping[str, Any]], field: str, why: Mapping[str, str]) -> list[str]:
    lines = []
    for row in rows:
        lines += [f"  {line}" for line in _comment(why.get(f"{field}.{row['name']}", ""))]
        lines.append(f"  - {_flow(row)}")
    return lines


def _flow(value: object) -> str:
    """Return a value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _comment(text: str) -> list[str]:
    """Return a text as comment lines; control characters cannot break out of them."""
    plain = " ".join(text.split())
    return [f"# {line}" for line in textwrap.wrap(plain, WIDTH)]
