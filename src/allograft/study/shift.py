"""Shift: a data set whose labels come from some domains and whose test cases come from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.data.cohort import Cohort
from allograft.data.split import Fold, folds, label_fraction

__all__ = ["BLIND", "Learn", "Shift", "apart", "domain_names", "shift_folds", "shift_roles"]

BLIND = "val:blind"
"""Role of the target's validation images, which come without labels."""

Learn = Literal["source", "target", "few", "both"]
"""Whose labels a recipe learns from: the source's; all of the target's (the upper bound); the few labelled target
cases; the source's and those few."""


class Shift(Config):
    """Which scanners, sites, protocols or modalities give labels, and which are to be predicted.

    Args:
        target: domains of the cases that are tested; their training cases are given without labels.
        source: domains of the labelled cases; empty takes all that are no target.
        labels: labelled target training cases that recipes with `learn: few` or `both` may use, 0 for none.
        leave_one_out: each target domain is left out in turn and all the others are its source: one table each.
    """

    target: tuple[str, ...] = Field(min_length=1)
    source: tuple[str, ...] = ()
    labels: int = Field(default=0, ge=0)
    leave_one_out: bool = False

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.leave_one_out and (self.source or len(self.target) < 2):
            msg = "shift, leave_one_out: name two or more domains as target, and no source: the others are it"
            raise ValueError(msg)
        if both := sorted(set(self.source) & set(self.target)):
            msg = f'shift: "{both[0]}" is source and target; a domain is one of them'
            raise ValueError(msg)
        return self

    def is_target(self, domain: str) -> bool:
        """Tell whether cases of a domain are to be predicted."""
        return domain in self.target

    def of(self, cohort: Cohort) -> Cohort:
        """Return the cases of the domains that take part.

        Raises:
            ConfigError: no case has a domain, or one that is named has none.
        """
        known = sorted({case.domain for case in cohort if case.domain})
        for name in (*self.source, *self.target):
            if name not in known:
                hint = did_you_mean(name, known) if known else "Its cases have no domain: name the column as domain."
                msg = f'shift: data set "{cohort.name}" has no domain "{name}". {hint}'
                raise ConfigError(msg)
        named = {*(self.source or known), *self.target}
        found = cohort.where(lambda case: case.domain in named)
        if all(self.is_target(case.domain) for case in found):
            msg = f'shift: no case of "{cohort.name}" is of a source: all are of {", ".join(self.target)}.'
            raise ConfigError(msg)
        return found


def apart(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a data set of a study file once for each domain that is left out, named DATA-to-DOMAIN; else as it is."""
    shift = spec.get("shift")
    if not isinstance(shift, Mapping) or shift.get("leave_one_out") is not True:
        return [dict(spec)]
    every = Shift.from_data(dict(shift), where=f'data set "{spec.get("name")}", shift').target
    return [
        {
            **spec,
            "name": f"{spec.get('name')}-to-{domain}",
            "shift": {**shift, "leave_one_out": False, "target": [domain], "source": [d for d in every if d != domain]},
        }
        for domain in every
    ]


def domain_names(cohort: Cohort) -> dict[str, str]:
    """Return the domain of every group and of every case; that of a group in several is "A + B"."""
    held: dict[str, dict[str, None]] = {}
    for case in cohort:
        held.setdefault(case.group, {})[case.domain] = None
    return {**{group: " + ".join(sorted(found)) for group, found in held.items()}, **{c.id: c.domain for c in cohort}}


def shift_folds(cohort: Cohort, shift: Shift, n: int, seed: int) -> tuple[Fold, ...]:
    """Split target and source alike; whoever is in both domains is in the same part of both.

    Args:
        cohort: of `Shift.of`.
        shift: the domains.
        n: number of folds, at least 3.
        seed: of the draw.

    Returns:
        One fold each with cases of all domains: train, val and test hold source and target cases.

    Raises:
        DataError: a domain has too few groups, or no labelled case.
    """
    target = cohort.where(lambda case: shift.is_target(case.domain))
    shared = set(target.groups)
    alone = cohort.where(lambda case: not shift.is_target(case.domain) and case.group not in shared)
    cut = _named(target, n, seed, "target")
    others = _named(alone, n, seed, "source") if len(alone.labelled()) else (Fold((), (), ()),) * len(cut)
    if len(cut) != len(others):
        msg = f"{cohort.name}: one of source and target brings its own split, the other does not. Give it to both."
        raise DataError(msg)
    return tuple(_merged(cohort, a, b) for a, b in zip(cut, others, strict=True))


def _named(part: Cohort, n: int, seed: int, what: str) -> tuple[Fold, ...]:
    try:
        return folds(part, n, seed)
    except DataError as error:
        msg = f"shift: the {what} domains cannot be split. {error}"
        raise DataError(msg) from error


def _merged(cohort: Cohort, target: Fold, source: Fold) -> Fold:
    """Join two folds; source cases of a target group go where that group is."""
    parts = {}
    for name in Fold._fields:
        ids = {*getattr(target, name), *getattr(source, name)}
        groups = {cohort[i].group for i in getattr(target, name)}
        parts[name] = tuple(c.id for c in cohort if c.id in ids or c.group in groups)
    labelled = set(cohort.labelled().ids)
    free = tuple(dict.fromkeys((*parts["unlabelled"], *(i for i in parts["train"] if i not in labelled))))
    judged = {p: tuple(i for i in parts[p] if i in labelled) for p in ("train", "val", "test")}
    return Fold(**judged, unlabelled=free)


def shift_roles(cohort: Cohort, fold: Fold, shift: Shift, learn: Learn, seed: int) -> dict[str, Cohort]:
    """Return who is in which role of a run; labels of target cases are there only where `learn` says so.

    Args:
        cohort: of `Shift.of`.
        fold: of `shift_folds`.
        shift: the domains.
        learn: whose labels are used.
        seed: of the draw of few labelled target cases.

    Returns:
        "train", "val", and without any target "target", "unlabelled" (of these, who is not in "train") and "val:blind",
        the target's part of validation. Who has nobody is left out.

    Raises:
        ConfigError: more target labels are asked for than there are.
    """

    def of(ids: Sequence[str], *, target: bool) -> Cohort:
        return cohort.subset(i for i in ids if shift.is_target(cohort[i].domain) == target)

    new = of((*fold.train, *fold.unlabelled), target=True)
    labels = of(fold.train, target=True)
    if learn in {"few", "both"}:
        if not 0 < shift.labels <= len(labels):
            msg = (
                f"learn: {learn} needs shift.labels between 1 and the {len(labels)} labelled target training cases of "
                f'"{cohort.name}", got {shift.labels}.'
            )
            raise ConfigError(msg)
        share = shift.labels / len(labels)
        labels = cohort.subset(label_fraction(labels.ids, cohort, share, seed, count=shift.labels))
    old = of(fold.train, target=False)
    train = {"source": old, "target": labels, "few": labels}.get(learn)
    both = cohort.subset(i for i in cohort.ids if i in {*old.ids, *labels.ids})
    train = both if train is None else train
    bare, known = new.without_labels(), set(train.ids)
    found = {
        "train": train,
        "val": of(fold.val, target=learn == "target"),
        "target": bare,
        "unlabelled": bare.where(lambda case: case.id not in known),
        BLIND: of(fold.val, target=True).without_labels(),
    }
    return {role: cases for role, cases in found.items() if len(cases)}
