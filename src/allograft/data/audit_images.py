"""Problems of images: unreadable, mixed, empty, doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from allograft.data.audit_result import Problem, problem
from allograft.data.cohort import Cohort
from allograft.data.duplicates import Duplicate
from allograft.data.look import Look

__all__ = ["duplicate_problems", "image_problems", "unreadable"]


def unreadable(failed: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the problem of images that cannot be read; `failed` has the reader's message by case."""
    if failed:
        text = f"{len(failed)} image(s) cannot be read. Copy or export them again, or leave the cases out."
        yield problem("error", "unreadable", text, tuple(failed), details=tuple(failed.values()))


def image_problems(looks: Sequence[Look], sizes: str) -> Iterator[Problem]:
    """Yield what is wrong with readable images, one by one and together; `sizes` says what becomes of sizes."""
    broken = tuple(item.id for item in looks if not item.finite)
    if broken:
        text = f"{len(broken)} image(s) hold values that are not finite (NaN or infinity). Replace them or leave out."
        yield problem("error", "not_finite", text, broken)
    constant = tuple(item.id for item in looks if item.constant)
    if constant:
        text = f"{len(constant)} image(s) have one value everywhere: they show nothing. Export again or leave out."
        yield problem("warning", "constant", text, constant)
    noted = tuple(item.id for item in looks if item.warnings)
    if noted:
        texts = dict.fromkeys(text for item in looks for text in item.warnings)
        yield problem("warning", "file_warning", f"{len(noted)} image(s): {'; '.join(texts)}.", noted)
    yield from _mixed(looks, sizes)


def _mixed(looks: Sequence[Look], sizes: str) -> Iterator[Problem]:
    """Yield what differs between images that a study wants the same."""
    rules: tuple[tuple[str, str, Callable[[Look], str], str], ...] = (
        ("error", "mixed_dims", lambda x: f"{len(x.shape)}-D", "Split the data into a 2-D and a 3-D set"),
        ("error", "mixed_units", lambda x: x.units or "none", "Values of different units cannot be compared"),
        ("warning", "mixed_channels", lambda x: str(x.channels), "They become one kind when `channels` is set"),
        ("warning", "mixed_types", lambda x: x.dtype, "Check that equal tissue has equal values in each"),
        ("warning", "mixed_sizes", lambda x: x.size, sizes),
    )
    for severity, kind, key, advice in rules:
        counts = Counter(key(item) for item in looks)
        if len(counts) < 2:
            continue
        usual = counts.most_common(1)[0][0]
        some = ", ".join(f"{name}: {count}" for name, count in counts.most_common(4))
        more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
        odd = tuple(item.id for item in looks if key(item) != usual)
        text = f"{kind.split('_')[1]} differ between images ({some}{more}). {advice}."
        yield problem("error" if severity == "error" else "warning", kind, text, odd)


def duplicate_problems(
    cohort: Cohort, pairs: Sequence[Duplicate], labels: Mapping[str, object], volumes: Set[str] = frozenset()
) -> Iterator[Problem]:
    """Yield what duplicates do to a study: leaks, contradictions, double counting.

    Args:
        cohort: the cases.
        pairs: the duplicates.
        labels: what each case is labelled with, equal where labels are; a mask's content for masks. Cases
            whose label cannot be read are not in it.
        volumes: ids of 3-D cases; nearly equal ones are no error, since registered scans of different
            people look alike.
    """
    leak = "A split may train on one and test on the other. Give both the same group, or keep one."
    known = [p for p in pairs if p.exact and p.first in labels and p.second in labels]
    differ = [p for p in known if labels[p.first] != labels[p.second]]
    rules: tuple[tuple[str, str, list[Duplicate], str], ...] = (
        ("error", "contradicting_labels", differ, "The same picture has different labels. Correct or drop one."),
        ("error", "leak", [p for p in pairs if p.exact and p.across_groups], f"The same picture, two groups. {leak}"),
        (
            "error",
            "split_leak",
            [
                p
                for p in pairs
                if cohort[p.first].split != cohort[p.second].split and (p.exact or not {p.first, p.second} <= volumes)
            ],
            "The same or nearly the same picture is in two fixed splits. Keep one.",
        ),
        (
            "warning",
            "near_leak",
            [p for p in pairs if not p.exact and p.across_groups],
            f"Nearly the same picture, two groups: look at each pair (registered volumes look alike). {leak}",
        ),
        (
            "warning",
            "copies",
            [p for p in pairs if p.exact and not p.across_groups],
            "The same picture twice in one group counts double. Keep one.",
        ),
    )
    for severity, kind, found, text in rules:
        if found:
            names = tuple(f"{p.first} = {p.second}" for p in found)
            cases = tuple(dict.fromkeys(name for p in found for name in (p.first, p.second)))
            item = problem("error" if severity == "error" else "warning", kind, f"{len(found)} pair(s). {text}", cases)
            yield item.model_copy(update={"details": names[:50], "count": len(found)})
