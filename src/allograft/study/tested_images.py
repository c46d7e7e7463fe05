"""Tested images: procedures that may look at the images, never the labels, of the cases that they are tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from allograft.core.stream_spec import IMAGES, TESTED
from allograft.study.outcome import Done

if TYPE_CHECKING:  # the report reads this file without torch
    from allograft.contracts import Procedure
    from allograft.data.cohort import Cohort

__all__ = ["TO_BE_SEEN", "LooksAtTested", "sees_tested", "tested_notes", "tested_role", "tested_warnings"]

MARK = "contamination:"
TO_BE_SEEN = f"{MARK} images of test cases are learnt from, without their labels"
"""Note of a plan, before it is known how many."""


@runtime_checkable
class LooksAtTested(Protocol):
    """A procedure that says whether it asks for the images of test cases."""

    @property
    def looks_at_tested(self) -> bool:
        """Whether it does, as it is set."""


def tested_role(procedure: Procedure, tested: Cohort) -> dict[str, Cohort]:
    """Return the role of the test cases without their labels for a procedure that asks for it, and none for others."""
    asks = isinstance(procedure, LooksAtTested) and procedure.looks_at_tested
    return {TESTED: tested.without_targets()} if asks else {}


def sees_tested(cohorts: Mapping[str, Cohort], read: Iterable[str]) -> int:
    """Return how many test cases lend their images to a stage whose streams read these roles."""
    if TESTED not in cohorts or IMAGES not in read:
        return 0
    return len(set(cohorts[TESTED].ids) & set(cohorts[IMAGES].ids))


def tested_notes(cohorts: Mapping[str, Cohort], read: Iterable[str]) -> tuple[str, ...]:
    """Return what is to be said of a stage that learns from images of test cases.

    Args:
        cohorts: of the stage by role.
        read: the roles that its streams read.
    """
    seen = sees_tested(cohorts, read)
    if not seen:
        return ()
    return (
        f"{MARK} the images of {seen} of {len(cohorts[TESTED])} test cases were learnt from, without their labels; "
        "the score holds for cases that were at hand while the network learnt, not for new patients.",
    )


def tested_warnings(outcomes: Iterable[Done]) -> list[str]:
    """Return a sentence for each recipe whose runs looked at images of test cases."""
    said = defaultdict[tuple[str, str], set[str]](set)
    for outcome in outcomes:
        notes = [note for note in outcome.notes if note.startswith(MARK)]
        said[outcome.key.dataset, outcome.key.recipe].update(notes)
    return [f'{dataset}, "{recipe}": {sorted(notes)[0]}' for (dataset, recipe), notes in said.items() if notes]
