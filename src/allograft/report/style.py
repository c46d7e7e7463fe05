"""Style: which colour, marker and dash stands for what; colours are names that CSS fills in.

A figure is drawn with placeholder colours. `ROLES` maps each to a CSS variable, so that one SVG
serves light and dark pages. A recipe keeps its look in all figures, and never differs from another
by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from allograft.study.summary import Summary

__all__ = [
    "ALONE",
    "CLASS_COLOURS",
    "DOMAIN_COLOURS",
    "ERRORS",
    "FATES",
    "GRID",
    "HEAT",
    "INK",
    "MUTED",
    "ON_BAR",
    "ON_DARK",
    "PAPER",
    "REFERENCE",
    "ROLES",
    "SHADE",
    "VERDICTS",
    "WORSE",
    "Fate",
    "Look",
    "Verdict",
    "looks",
]

INK, MUTED, GRID, PAPER, SHADE = "#000001", "#000002", "#000003", "#000004", "#000005"
REFERENCE, HEAT, ON_BAR, ON_DARK = "#00009f", "#0000bd", "#0000be", "#0000bf"
_COLOURS = tuple(f"#0000{i:02x}" for i in range(0xA0, 0xA8))
DOMAIN_COLOURS = _COLOURS
"""Colours of domains in feature maps, in their order."""
_MARKERS = ("s", "^", "D", "v", "p", ">", "h", "<")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 2), (3, 1), (4, 1.5, 1, 1.5))


class Look(NamedTuple):
    """How a recipe is drawn.

    Args:
        colour: placeholder of its colour.
        marker: matplotlib's name of its marker.
        dashes: lengths of dashes and gaps in points, empty for a full line.
    """

    colour: str
    marker: str
    dashes: tuple[float, ...]


ALONE = Look(_COLOURS[0], "o", ())
"""How something is drawn that stands alone in its page."""


class Fate(NamedTuple):
    """Where numbers of a network come from.

    Args:
        name: field of the plan's coverage.
        colour: placeholder of its colour.
        meaning: in words.
    """

    name: str
    colour: str
    meaning: str


class Verdict(NamedTuple):
    """One of the four verdicts.

    Args:
        word: as statistics says it.
        slug: class in the style sheet.
        sign: shown before the word, so that colour is never alone.
        marker: matplotlib's name of its marker.
        filled: whether the marker is filled.
        meaning: in words.
    """

    word: str
    slug: str
    sign: str
    marker: str
    filled: bool
    meaning: str


FATES = (
    Fate("copied", "#0000b0", "taken over unchanged from the source network"),
    Fate("adapted", "#0000b1", "taken over and converted, for example to another number of input channels"),
    Fate("sampled", "#0000b2", "drawn at random with the source's layer statistics"),
    Fate("computed", "#0000b3", "calculated, for example Gabor filters"),
    Fate("fresh", "#0000b4", "ordinary random initialisation, nothing from the source"),
)

CLASS_COLOURS = ("#3fe08f", "#ff8ad0", "#e6ea45", "#7fe3ff", "#b79cff", "#ffc9a3", "#9fd36a", "#e0b8ff")
"""Contours of classes on grey images, in every colour scheme; none is like a colour of `ERRORS`."""
ERRORS = (
    ("right", "#d8d8d8", "predicted and true"),
    ("too much", "#ff9a1f", "predicted, but not true"),
    ("missed", "#2f8cff", "true, but not predicted"),
    ("wrong class", "#e24fd0", "a structure, but another one"),
)
"""Name, colour and meaning of what an error map shows: apart in hue and lightness, also for colour-blind eyes."""

VERDICTS = (
    Verdict(
        "better", "better", "▲", "o", True,
        "The difference is real: the Holm-adjusted p is below 0.05 and the 95 % interval leaves out 0.",
    ),
    Verdict(
        "equivalent", "equivalent", "≈", "s", True,
        "Shown to be practically the same: two one-sided tests place the difference inside the margin "
        "that was set as too small to matter.",
    ),
    Verdict(
        "no detectable difference", "undetected", "○", "o", False,
        "Neither a difference nor equivalence is shown. More independent units could decide; "
        "it does not mean that the two are the same.",
    ),
    Verdict(
        "cannot tell", "untold", "?", "x", False,
        "There are fewer than 6 independent units, or no valid test exists: nothing is claimed.",
    ),
)  # fmt: skip

WORSE = Verdict("worse", "worse", "▼", "o", True, "The other recipe is better, and the difference is real.")
"""The verdict "better" as it reads from the recipe that lost."""

ROLES: Mapping[str, str] = {
    "#000000": "var(--ink)",
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PAPER: "var(--paper)",
    SHADE: "var(--shade)",
    REFERENCE: "var(--reference)",
    HEAT: "var(--heat)",
    ON_BAR: "var(--on-bar)",
    ON_DARK: "var(--on-dark)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(_COLOURS)},
    **{fate.colour: f"var(--{fate.name})" for fate in FATES},
}
"""Placeholder -> CSS."""


def looks(summary: Summary) -> dict[str, Look]:
    """Return the look of every recipe of a study; the baseline is grey, round and full."""
    names = dict.fromkeys(_names(summary))
    others = [name for name in names if name != summary.baseline]
    found = {
        name: Look(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)],
            _DASHES[i % len(_DASHES)],
        )
        for i, name in enumerate(others)
    }
    return {summary.baseline: Look(REFERENCE, "o", ()), **found}


def _names(summary: Summary) -> Iterable[str]:
    """Every recipe that is named anywhere, in an order that does not depend on who won."""
    yield from sorted(
        {row.key.recipe for row in summary.runs}
        | {failure.key.recipe for failure in summary.failures}
        | {recipe.name for table in summary.tables for recipe in table.recipes}
        | set(summary.plans)
        | {stage.recipe for stage in summary.pretexts}
        | {curve.recipe for table in summary.tables for curve in (*table.validation_curves, *table.loss_curves)}
        | {curve.recipe for curves in summary.efficiency.values() for curve in curves}
    )
