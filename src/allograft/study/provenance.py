"""Provenance: licences of the weights that a study names, and what these weights have seen of its data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from allograft.core.atomic import write_text
from allograft.core.private import pseudonym
from allograft.data.cohort import Cohort
from allograft.study.grid import Study
from allograft.study.sources import find_card, require_licence
from allograft.weights.card import WeightSource
from allograft.weights.contamination import contamination_notes, licence_words

__all__ = ["cards_of", "licence_lines", "name_warnings", "patient_warnings", "require_licences", "write_made_with"]

MADE_WITH = "made-with.json"
"""In a run's folder: pseudonyms of every case that the network has learnt from or been chosen by."""


def cards_of(study: Study, base: Path) -> dict[str, WeightSource]:
    """Return the cards of the weights that recipes begin with, by the name that recipes use."""
    return {name: find_card(name, base) for name in dict.fromkeys(r.source for r in study.recipes if r.source)}


def require_licences(study: Study, base: Path) -> None:
    """Refuse weights whose licence is not accepted.

    Raises:
        ConfigError: names the card and the ways to accept its licence.
    """
    for card in cards_of(study, base).values():
        require_licence(card, study.accept_licence)


def licence_lines(study: Study, base: Path) -> list[str]:
    """Return the licence of each set of weights that the study names, for whoever starts it."""
    return [f"weights {name}: {licence_words(card)}" for name, card in cards_of(study, base).items()]


def name_warnings(study: Study, cohorts: Mapping[str, Cohort], base: Path) -> list[str]:
    """Return what the weights have seen of any data set of the study, by the names of the sets."""
    return [
        note
        for cohort in cohorts.values()
        for card in cards_of(study, base).values()
        for note in contamination_notes(cohort.name, cohort.seen_as, card)
    ]


def patient_warnings(
    study: Study, cohorts: Mapping[str, Cohort], tested: Mapping[str, Iterable[str]], *, salt: str, base: Path
) -> list[str]:
    """Return which weights of own runs were made with patients that the study tests on.

    Cases are compared by their pseudonyms, so this finds runs of the same site, whatever the data set was called.

    Args:
        study: the study.
        cohorts: by data set.
        tested: by data set, the ids of the cases that some fold tests on.
        salt: of pseudonyms.
        base: folder that relative paths start from.
    """
    said = []
    for name, card in cards_of(study, base).items():
        known = _made_with(card)
        for data, ids in tested.items():
            cohort, cases = cohorts[data], tuple(ids)
            groups = {cohort[case].group for case in cases}
            doubled = {cohort[case].group for case in cases if pseudonym(case, salt) in known}
            if doubled:
                said.append(
                    f'contamination: weights "{name}" were made with cases of {len(doubled)} of the {len(groups)} '
                    f'{cohort.unit}s that "{data}" is tested on; scores on them are too good to be taken as scores on '
                    f"new {cohort.unit}s. Pre-train on other data, or inside this study (procedure)."
                )
    return said


def write_made_with(folder: Path, cohorts: Iterable[Cohort], source: WeightSource | None, salt: str) -> None:
    """Write down every case that a run has read, and those of the run that its weights come from.

    Args:
        folder: of the run.
        cohorts: what its procedure could read.
        source: the card that it began with, None for none.
        salt: of pseudonyms.
    """
    own = {pseudonym(case.id, salt) for cohort in cohorts for case in cohort}
    inherited = set() if source is None else _made_with(source)
    write_text(folder / MADE_WITH, json.dumps(sorted(own | inherited)))


def _made_with(card: WeightSource) -> set[str]:
    """Return the pseudonyms of the cases that a run's network was made with, none for other weights."""
    scheme, _, folder = card.origin.partition(":")
    path = Path(folder).parent / MADE_WITH
    return set(json.loads(path.read_text(encoding="utf-8"))) if scheme == "run" and path.is_file() else set()
