"""Partners: for each case of one cohort the case of another that shows the same, or another of the same patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from allograft.core.errors import DataError
from allograft.core.stream_spec import Another
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.store import Store

__all__ = ["Pairs", "check_grids", "other_cases", "pair_cases"]

Pairs = Mapping[str, tuple[Case, ...]]
"""By case id its partners: one for each domain that holds one, in the cohort's order."""

_Key = tuple[str, ...]

ROUNDING = 1e-9
"""Share by which a distance may exceed its limit: 0.4 - 0.3 is more than 0.1 in binary numbers."""


def pair_cases(leaders: Cohort, others: Cohort, match: Sequence[str], *, where: str) -> Pairs:
    """Return the partners of each case: cases of the same group, and of the same value of each attribute in `match`.

    A case that is itself among the others is its own partner.

    Args:
        leaders: who needs partners.
        others: who may be one.
        match: attributes that tell the cases of one group and domain apart (a slice's number).
        where: the stream, for messages.

    Raises:
        DataError: a case has no partner, lacks an attribute, or several cases of one domain could be it.
    """
    for cohort in (leaders, others):
        _told_apart(cohort, match, where)
    found: dict[_Key, list[Case]] = {}
    for case in others:
        found.setdefault(_key(case, match, where), []).append(case)
    own = set(others.ids)
    pairs = {c.id: (others[c.id],) if c.id in own else tuple(found.get(_key(c, match, where), ())) for c in leaders}
    if alone := [name for name, partners in pairs.items() if not partners]:
        first = leaders[alone[0]]
        same = f" and the same {', '.join(match)}" if match else ""
        msg = (
            f"{where}: {len(alone)} of {len(pairs)} cases of {_domains(leaders)} have no partner, a case of the same "
            f"group{same}, among {len(others)} cases of {_domains(others)}: {_some(alone)}. The first is of group "
            f'"{first.group}". Pairs need each group in both domains; leave these cases out, or take an objective for '
            "unpaired images such as cycle_gan."
        )
        raise DataError(msg)
    return pairs


def other_cases(leaders: Cohort, others: Cohort, match: Sequence[str], how: Another, *, where: str) -> Pairs:
    """Return, for each case, the other cases of its group that may be its partner; never itself.

    Args:
        leaders: who needs partners.
        others: who may be one.
        match: attributes in which they agree.
        how: which of the group's cases may be one.
        where: the stream, for messages.

    Raises:
        DataError: a case has no partner, or lacks an attribute; one that is to be near holds no number.
    """
    found: dict[_Key, list[Case]] = {}
    for case in others:
        found.setdefault(_key(case, match, where), []).append(case)
    places = {c.id: _number(c, how.near, where) for c in (*leaders, *others)} if how.near else {}

    def fits(case: Case, other: Case) -> bool:
        if case.id == other.id or (how.domain != "any" and (case.domain == other.domain) != (how.domain == "same")):
            return False
        return not places or abs(places[case.id] - places[other.id]) <= how.within * (1 + ROUNDING)

    pairs = {c.id: tuple(o for o in found.get(_key(c, match, where), ()) if fits(c, o)) for c in leaders}
    if alone := [name for name, partners in pairs.items() if not partners]:
        msg = (
            f"{where}: {len(alone)} of {len(pairs)} cases have no partner, another case {_asked(match, how)}: "
            f'{_some(alone)}. The first is of group "{leaders[alone[0]].group}", domain '
            f'"{leaders[alone[0]].domain}". Leave such cases out of the data set, or take a method that makes both '
            "views of one image, like simclr."
        )
        raise DataError(msg)
    return pairs


def _asked(match: Sequence[str], how: Another) -> str:
    """Say what a partner must be."""
    said = "of the same group"
    said += {"any": "", "other": " in another domain", "same": " in the same domain"}[how.domain]
    said += f" with the same {', '.join(match)}" if match else ""
    return said + (f' whose "{how.near}" differs by at most {how.within:g}' if how.near else "")


def _number(case: Case, name: str, where: str) -> float:
    """Return an attribute's number."""
    (said,) = _key(case, (name,), where)[1:]
    try:
        return float(said)
    except ValueError as error:
        msg = f'{where}: case {case.id!r} has "{said}" as its "{name}", which is no number. Name one that is (a slice).'
        raise DataError(msg) from error


def check_grids(pairs: Pairs, own: Store, others: Store, *, where: str) -> None:
    """Refuse pairs that do not lie on one grid.

    Raises:
        DataError: files or what was cut out of them differ; names both cases.
    """
    for name, partners in pairs.items():
        one = own.placement(name)
        for partner in partners:
            two = others.placement(partner.id)
            if one.shape != two.shape or one.box != two.box or not one.geometry.same_grid(two.geometry):
                msg = (
                    f"{where}: case {name!r} and its partner {partner.id!r} lie on different grids: stored "
                    f"{one.shape} and {two.shape}, files {one.geometry.shape} and {two.geometry.shape}, boxes "
                    f"{one.box} and {two.box}. Resample one onto the other (registration), and leave out crop."
                )
                raise DataError(msg)


def _told_apart(cohort: Cohort, match: Sequence[str], where: str) -> None:
    """Refuse a cohort in which a domain holds two cases that could be the same partner."""
    counts = Counter((case.domain, *_key(case, match, where)) for case in cohort)
    for (domain, group, *_), count in counts.items():
        if count > 1:
            known = sorted({name for case in cohort if case.group == group for name in case.attributes})
            msg = (
                f'{where}: group "{group}" has {count} cases in domain "{domain}" that could be the same partner. Name '
                f"the attribute that tells them apart under match (known here: {', '.join(known) or 'none'})."
            )
            raise DataError(msg)


def _key(case: Case, match: Sequence[str], where: str) -> _Key:
    for name in match:
        if name not in case.attributes:
            known = ", ".join(sorted(case.attributes)) or "none"
            msg = f'{where}: case {case.id!r} has no attribute "{name}" to be matched by. It has: {known}.'
            raise DataError(msg)
    return (case.group, *(case.attributes[name] for name in match))


def _domains(cohort: Cohort) -> str:
    return ", ".join(sorted({case.domain or "no domain" for case in cohort}))


def _some(names: Iterable[str], most: int = 5) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (" ..." if len(every) > most else "")
