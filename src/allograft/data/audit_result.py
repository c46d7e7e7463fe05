"""What an audit says: numbers, pairs of duplicates, and problems with their cases."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allograft.core.config import Config, canonical_json
from allograft.core.private import pseudonym

__all__ = ["Audit", "ClassCount", "Pair", "Problem", "problem"]

Severity = Literal["error", "warning"]

SHOWN = 50
"""Most cases that a problem names; `count` has them all."""


class Problem(Config):
    """One finding.

    Args:
        severity: "error": a study on these data would be wrong; "warning": know it.
        kind: short name for programs, for example "unreadable".
        text: what was found and what to do, without names of cases or files.
        cases: the first `SHOWN` cases concerned, by id.
        details: the readers' own messages, with files; in the order of `cases`.
        count: how many cases (or pairs, or groups) are concerned.
    """

    severity: Severity
    kind: str
    text: str
    cases: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    count: int = 1


class ClassCount(Config):
    """How often a class occurs; for multilabel, how often the label is 1; for masks, in how many."""

    name: str
    cases: int
    groups: int


class Pair(Config):
    """Two cases with the same or nearly the same picture; see `duplicates.Duplicate`."""

    first: str
    second: str
    exact: bool
    distance: int
    across_groups: bool


class Audit(Config):
    """The result of looking at every image of a cohort once.

    Args:
        name: of the data set.
        source: path that was opened, "" for a cohort made in memory.
        kind: task kind, "" where the data could not be opened.
        classes: cases and groups of each class.
        cases: all cases.
        labelled: cases with a label.
        unit: what a group is.
        groups: different groups.
        cases_per_group: fewest, median, most.
        domains: cases by site or scanner.
        splits: cases by fixed split.
        dims: images by dims ("2-D").
        sizes: images by size ("224x224"), most frequent first.
        channels: images by channel count.
        types: images by number type.
        intensity: smallest and largest finite value of all images, None where none was read.
        spacing_mm: smallest and largest spacing along each axis, empty where unknown.
        orientations: volumes by where their file's own axes run to ("RAS").
        duplicates: pairs, exact first.
        problems: errors first.
        notes: what the cohort says of itself.
        seconds: time taken.
    """

    name: str
    source: str = ""
    kind: str = ""
    classes: tuple[ClassCount, ...] = ()
    cases: int = 0
    labelled: int = 0
    unit: str = ""
    groups: int = 0
    cases_per_group: tuple[int, float, int] = (0, 0.0, 0)
    domains: dict[str, int] = Field(default_factory=dict)
    splits: dict[str, int] = Field(default_factory=dict)
    dims: dict[str, int] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)
    channels: dict[str, int] = Field(default_factory=dict)
    types: dict[str, int] = Field(default_factory=dict)
    intensity: tuple[float, float] | None = None
    spacing_mm: tuple[tuple[float, float], ...] = ()
    orientations: dict[str, int] = Field(default_factory=dict)
    duplicates: tuple[Pair, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether a study on these data would be right: no problem is an error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that would make a study wrong."""
        return tuple(item for item in self.problems if item.severity == "error")

    @property
    def unlabelled(self) -> int:
        """Cases without a label."""
        return self.cases - self.labelled

    def hidden(self, salt: str) -> Audit:
        """Return the audit with cases as salted hashes and without paths or readers' messages."""
        return self.model_copy(
            update={
                "source": "",
                "problems": tuple(
                    item.model_copy(
                        update={"cases": tuple(pseudonym(name, salt) for name in item.cases), "details": ()}
                    )
                    for item in self.problems
                ),
                "duplicates": tuple(
                    pair.model_copy(
                        update={"first": pseudonym(pair.first, salt), "second": pseudonym(pair.second, salt)}
                    )
                    for pair in self.duplicates
                ),
            }
        )

    def json_text(self, *, salt: str | None = None) -> str:
        """Return JSON with `ok`; with a salt, cases are hashes and nothing names a file."""
        shown = self if salt is None else self.hidden(salt)
        return canonical_json({"ok": self.ok, "unlabelled": self.unlabelled, **shown.model_dump(mode="json")})


def problem(severity: Severity, kind: str, text: str, cases: tuple[str, ...] = (), **more: tuple[str, ...]) -> Problem:
    """Return a problem that names the first cases and counts all."""
    details = more.get("details", ())
    return Problem(
        severity=severity,
        kind=kind,
        text=text,
        cases=cases[:SHOWN],
        details=details[:SHOWN],
        count=max(1, len(cases)),
    )
