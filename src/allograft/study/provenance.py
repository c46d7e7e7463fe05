"""Provenance: licences of the weights that a study names, and what these weights have seen of its data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from allograft.core.private import pseudonym
from allograft.data.cohort import Cohort
from allograft.study.grid import Study
from allograft.study.made_with import MadeWith, image_contents, made_with
from allograft.study.sources import find_card, require_licence
from allograft.weights.card import WeightSource
from allograft.weights.contamination import contamination_notes, licence_words

__all__ = ["cards_of", "licence_lines", "name_warnings", "patient_warnings", "require_licences", "write_made_with"]


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
    """Return what the weights have seen of any data set of the study, by the names of the sets.

    Where the weights say which images of a set they have seen, and images of the study are among these or among those
    that were left out, `patient_warnings` says more than the name could.
    """
    said = list[str]()
    for card in cards_of(study, base).values():
        made = made_with(card)
        for cohort in cohorts.values():
            exact = made.data_known_by_image(image_contents(cohort)) if made.seen else set[str]()
            rest = card.model_copy(update={"seen": tuple(name for name in card.seen if name not in exact)})
            said += contamination_notes(cohort.name, cohort.seen_as, rest)
    return said


def patient_warnings(
    study: Study, cohorts: Mapping[str, Cohort], tested: Mapping[str, Iterable[str]], *, salt: str, base: Path
) -> list[str]:
    """Return which weights of one's own were made with patients that the study tests on.

    Cases are compared by their pseudonyms, so this finds runs of the same site, whatever the data set was called;
    images of a pre-training by the content of their files, whatever these are called, their patients by pseudonyms.

    Args:
        study: the study.
        cohorts: by data set.
        tested: by data set, the ids of the cases that some fold tests on.
        salt: of pseudonyms.
        base: folder that relative paths start from.
    """
    said = list[str]()
    for name, card in cards_of(study, base).items():
        known = made_with(card)
        for data, ids in tested.items():
            said += _doubled(name, known, cohorts[data].subset(ids), salt)
    return said


def _doubled(name: str, known: MadeWith, tested: Cohort, salt: str) -> Iterator[str]:
    """Yield what weights have in common with the cases that are tested."""
    seen = known.cases_seen(image_contents(tested)) if known.seen else set[str]()
    seen |= {case.id for case in tested if pseudonym(case.id, salt) in known.cases}
    groups, doubled = set(tested.groups), {tested[case].group for case in seen}
    if doubled:
        yield (
            f'contamination: weights "{name}" were made with cases of {len(doubled)} of the {len(groups)} '
            f'{tested.unit}s that "{tested.name}" is tested on; scores on them are too good to be taken as scores on '
            f"new {tested.unit}s. Pre-train on other data, without these (allograft pretrain --without STUDY), or "
            "inside this study (procedure)."
        )
    if namesakes := {group for group in groups - doubled if pseudonym(group, salt) in known.groups}:
        yield (
            f'contamination: weights "{name}" may have seen other images of {len(namesakes)} of the {len(groups)} '
            f'{tested.unit}s that "{tested.name}" is tested on: they are called the same. If they are the same, scores '
            "on them are too good."
        )


def write_made_with(folder: Path, cohorts: Iterable[Cohort], source: WeightSource | None, salt: str) -> None:
    """Write down every case that a run has read, and what the weights were made with that it began with.

    Args:
        folder: of the run.
        cohorts: what its procedure could read.
        source: the card that it began with, None for none.
        salt: of pseudonyms.
    """
    own = MadeWith(cases=tuple({pseudonym(case.id, salt) for cohort in cohorts for case in cohort}))
    (own | (MadeWith() if source is None else made_with(source))).write(folder)
