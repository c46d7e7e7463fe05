"""Collapsed: runs whose network predicts a class next to nowhere, or everywhere, said in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from allograft.data.predictions import Predictions
from allograft.metrics.segmentation.collapse import collapse_of_scores
from allograft.study.outcome import Done

if TYPE_CHECKING:  # a summary opens without torch
    from allograft.data.store import Store

__all__ = ["collapse_notes", "collapse_warnings"]

MARK = "Collapsed"
PARTS = {"val": "validation", "test": "test"}


def collapse_notes(found: Mapping[str, Predictions], store: Store) -> list[str]:
    """Return a note for each part in which a segmentation collapsed.

    Args:
        found: predictions at the end: "val" on the prepared grid, "test" on the masks' own.
        store: where the images' sizes are known.
    """
    notes = []
    for part, name in PARTS.items():
        masks, ids = found[part].masks, found[part].ids
        if masks is None:
            continue
        places = [store.placement(case) for case in ids]
        elements = [math.prod(p.shape if part == "val" else p.geometry.shape) for p in places]
        said = collapse_of_scores(masks, elements)
        notes += [f"{MARK} ({name}): {said}"] if said else []
    return notes


def collapse_warnings(outcomes: Iterable[Done]) -> list[str]:
    """Return a sentence for each recipe of which a run collapsed, with how many of its runs did."""
    by_recipe: dict[tuple[str, float, str], list[Done]] = defaultdict(list)
    for outcome in outcomes:
        by_recipe[outcome.key.dataset, outcome.key.label_fraction, outcome.key.recipe].append(outcome)
    said = []
    for (dataset, share, recipe), runs in by_recipe.items():
        notes = [[note for note in run.notes if note.startswith(f"{MARK} (")] for run in runs]
        bad = [each for each in notes if each]
        if bad:
            where = f'{dataset}, {share:.0%} of the labels: "{recipe}"'
            said.append(f"{where}: {len(bad)} of {len(runs)} runs collapsed. First of them: {bad[0][-1]}")
    return said
