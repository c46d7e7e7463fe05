"""Problems of masks: on another grid, with values that are no class, empty, tiny, doubled; label sets that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from allograft.data.audit_result import Problem, problem
from allograft.data.cohort import Cohort
from allograft.data.io.mask import propose_classes
from allograft.data.look import Look
from allograft.data.look_mask import BadMask, MaskLook

__all__ = ["class_cases", "labels_of", "mask_problems"]

TINY = 10
"""A structure of fewer elements is noise to most metrics (ours)."""

FEWEST = 3
"""Groups of a class without which train, validation and test cannot each have one."""

OFF = 0.5
"""A mask more than this share of which lies where the image is empty is likely displaced (ours)."""

BAD = {
    "mask_grid": "lie on another grid than their image. Resample each onto its image's grid, or leave the cases out.",
    "mask_values": "hold values that are no class.",
    "mask_unreadable": "cannot be used. Export them again, or leave the cases out.",
}


class _Seen(NamedTuple):
    """Readable masks by case, with the class names of the task."""

    masks: dict[str, MaskLook]
    classes: tuple[str, ...]

    def name(self, label: int) -> str:
        return f'"{self.classes[label]}"' if 0 <= label < len(self.classes) else f"value {label}"


def labels_of(cohort: Cohort, looks: Sequence[Look]) -> dict[str, object]:
    """Return what each case is labelled with, a mask by its content; without masks that cannot be read."""
    masks = {item.id: item.mask for item in looks if item.mask is not None}
    own = {c.id: c.targets.get(cohort.task.head) for c in cohort if c.id not in masks}
    return {**own, **{name: mask.content for name, mask in masks.items() if isinstance(mask, MaskLook)}}


def class_cases(cohort: Cohort, looks: Sequence[Look]) -> dict[str, list[str]]:
    """Return the cases in whose mask each class other than the background occurs; empty where there are no masks."""
    masks = _seen(cohort, looks).masks
    names = cohort.task.classes
    return {
        name: [case for case, mask in masks.items() if label in mask.counts]
        for label, name in enumerate(names)
        if label > 0 and masks
    }


def mask_problems(cohort: Cohort, looks: Sequence[Look]) -> Iterator[Problem]:
    """Yield what is wrong with masks, one by one and together."""
    seen = _seen(cohort, looks)
    yield from _bad(cohort, looks)
    if not seen.masks:
        return
    yield from _values(seen)
    yield from _single(seen)
    yield from _same(seen, looks)
    yield from _codings(cohort, seen)
    yield from _rare(cohort, class_cases(cohort, looks))
    yield from _disjoint(seen)


def _seen(cohort: Cohort, looks: Sequence[Look]) -> _Seen:
    return _Seen({x.id: x.mask for x in looks if isinstance(x.mask, MaskLook)}, cohort.task.classes)


def _bad(cohort: Cohort, looks: Sequence[Look]) -> Iterator[Problem]:
    """Yield masks that cannot be used, with the reader's messages."""
    found: dict[str, dict[str, BadMask]] = defaultdict(dict)
    for item in looks:
        if isinstance(item.mask, BadMask):
            found[item.mask.kind][item.id] = item.mask
    for kind, masks in found.items():
        text = f"{len(masks)} mask(s) {BAD[kind]}"
        if kind == "mask_values":
            values = tuple(sorted({value for mask in masks.values() for value in mask.values}))
            text += f" They hold {_some(values)}.{_proposal(values, cohort.task.classes)}"
        details = tuple(f"{name}: {mask.text}" for name, mask in masks.items())
        yield problem("error", kind, text, tuple(masks), details=details)


def _values(seen: _Seen) -> Iterator[Problem]:
    """Yield class indices beyond the task's classes, in masks whose values nothing explains."""
    known = range(len(seen.classes))
    odd = {case: mask for case, mask in seen.masks.items() if any(v not in known and v >= 0 for v in mask.counts)}
    if odd:
        values = tuple(sorted({value for mask in odd.values() for value in mask.counts if value >= 0}))
        text = (
            f"{len(odd)} mask(s) hold values that are no class: {_some(values)}, but the task has the classes 0 to "
            f"{len(seen.classes) - 1}.{_proposal(values, seen.classes)}"
        )
        yield problem("error", "mask_values", text, tuple(odd))


def _proposal(values: tuple[int, ...], classes: tuple[str, ...]) -> str:
    """Return what the values may mean, as a sentence."""
    pairs = propose_classes(values, classes)
    if not pairs:
        return " Correct the masks, or name the classes."
    said = ", ".join(f"{value} = {classes[index]}" for value, index in pairs)
    return f" Set mask_values: [{', '.join(value for value, _ in pairs)}] if they mean {said}."


def _some(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:8]))}{' and more' if len(values) > 8 else ''}"


def _single(seen: _Seen) -> Iterator[Problem]:
    """Yield masks that are empty, hold specks, or lie where the image is empty."""
    empty = tuple(case for case, mask in seen.masks.items() if not mask.foreground)
    if empty:
        text = (
            f"{len(empty)} of {len(seen.masks)} mask(s) have no foreground. Where the structure is absent that is "
            "right; where it was not drawn, leave the case out."
        )
        yield problem("warning", "empty_mask", text, empty)
    tiny: dict[str, list[str]] = defaultdict(list)
    for case, mask in seen.masks.items():
        for label, count in mask.foreground.items():
            if count < TINY:
                tiny[seen.name(label)].append(case)
    if tiny:
        said = ", ".join(f"{name} in {len(cases)}" for name, cases in list(tiny.items())[:5])
        text = f"structures of fewer than {TINY} elements ({said} masks): slips of the pen, or too small to score."
        yield problem(
            "warning", "tiny_structure", text, tuple(dict.fromkeys(c for cases in tiny.values() for c in cases))
        )
    off = tuple(case for case, mask in seen.masks.items() if mask.empty_share > OFF)
    if off:
        text = (
            f"{len(off)} mask(s) lie for the most part where the image has its lowest value, that is, shows nothing. "
            "The mask may be mirrored, shifted, or of another case: look at image and mask together."
        )
        yield problem("warning", "mask_off_image", text, off)


def _same(seen: _Seen, looks: Sequence[Look]) -> Iterator[Problem]:
    """Yield equal masks of images that are not equal."""
    image = {item.id: item.print.content for item in looks}
    first: dict[str, str] = {}
    pairs = []
    for case, mask in seen.masks.items():
        other = first.setdefault(mask.content, case)
        if other != case and mask.foreground and image[other] != image[case]:
            pairs.append((other, case))
    if pairs:
        text = (
            f"{len(pairs)} pair(s) of different images have the very same mask. One of each pair is likely misplaced."
        )
        cases = tuple(dict.fromkeys(case for pair in pairs for case in pair))
        found = problem("warning", "same_mask", text, cases, details=tuple(f"{a} = {b}" for a, b in pairs))
        yield found.model_copy(update={"count": len(pairs)})


def _codings(cohort: Cohort, seen: _Seen) -> Iterator[Problem]:
    """Yield masks of 0 and 255 among masks of 0 and 1: one structure, written in two ways."""
    meaning = _file_values(cohort)
    sets: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case, mask in seen.masks.items():
        if mask.foreground:
            sets[tuple(sorted(meaning.get(label, str(label)) for label in mask.foreground))].append(case)
    if ("1",) in sets and ("255",) in sets:
        low, high = len(sets["1",]), len(sets["255",])
        text = (
            f"{low} mask(s) hold 0 and 1, {high} hold 0 and 255: likely one structure written in two ways, and read "
            "as two classes. Write all alike."
        )
        fewer = sets["1",] if low < high else sets["255",]
        yield problem("error", "two_codings", text, tuple(fewer))


def _file_values(cohort: Cohort) -> Mapping[int, str]:
    """Return what a class index is called in the files, where all masks agree."""
    refs = [case.targets.get(cohort.task.head) for case in cohort]
    meanings = {getattr(ref, "classes", ()) for ref in refs if ref is not None}
    return {index: name for name, index in meanings.pop()} if len(meanings) == 1 else {}


def _rare(cohort: Cohort, members: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Yield classes that no mask has, that few have, and that a fixed split lacks."""
    absent = [name for name, cases in members.items() if not cases]
    if absent:
        text = f"no mask has {_names(absent)}: nothing can be learnt or tested of it. Check the values, or drop it."
        yield problem("warning", "absent_class", text)
    groups = {name: len({cohort[case].group for case in cases}) for name, cases in members.items()}
    few = [name for name, count in groups.items() if 0 < count < FEWEST]
    if few and not any(case.split for case in cohort):
        said = ", ".join(f'"{name}" in {groups[name]}' for name in few[:5])
        text = (
            f"{len(few)} class(es) occur in fewer than {FEWEST} groups ({cohort.unit}): {said}. Train, validation "
            "and test cannot each have one, and some folds say nothing of it. Add cases, or merge or drop the class."
        )
        yield problem("warning", "rare_class", text, tuple(dict.fromkeys(c for name in few for c in members[name])))
    for part in ("train", "val", "test"):
        if not any(case.split == part for case in cohort):
            continue
        missing = [n for n, cases in members.items() if cases and all(cohort[case].split != part for case in cases)]
        if missing:
            text = f"the fixed split {part!r} has no mask with {_names(missing)}. Move cases, or drop the split."
            yield problem("error" if part == "train" else "warning", "class_missing_in_split", text)


def _disjoint(seen: _Seen) -> Iterator[Problem]:
    """Yield cohorts in which some masks have one set of classes and others a wholly different one."""
    sets: dict[frozenset[int], list[str]] = defaultdict(list)
    for case, mask in seen.masks.items():
        if mask.foreground:
            sets[frozenset(mask.foreground)].append(case)
    ordered = sorted(sets, key=lambda labels: -len(sets[labels]))
    if len(ordered) < 2:
        return
    most = ordered[0]
    other = next((labels for labels in ordered[1:] if not labels & most and len(sets[labels]) > 1), None)
    if other is not None:
        first, second = (_names([seen.name(v).strip('"') for v in sorted(labels)]) for labels in (most, other))
        text = (
            f"label sets differ: {len(sets[most])} mask(s) have only {first}, {len(sets[other])} only {second}. If "
            "each set of masks was drawn for its own structure, what was not drawn is learnt as background: make "
            "two data sets of it (auxiliary) instead of one."
        )
        yield problem("warning", "label_sets", text, tuple(sets[other]))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
