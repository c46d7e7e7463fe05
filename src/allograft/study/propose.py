"""Propose: a study that suits size, dimension and kind of a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.study.propose_masks import mask_fields
from allograft.study.survey import Survey

__all__ = ["Proposal", "file_name", "propose"]

CAP = {2: 224, 3: 96}
"""Longest side that is proposed, by dims (ours: training stays affordable without a GPU)."""

STEP = 32
CARD = "tf_efficientnet_lite0-imagenet"
ENCODER = "timm:tf_efficientnet_lite0"
WINDOW = (-1000.0, 1000.0)

Data = dict[str, Any]


class Proposal(Config):
    """A study as plain data with what is to be said beside it.

    Args:
        study: fields as a study file holds them.
        why: a comment by field; of recipes by "recipes.NAME".
        notes: what the user should know first.
    """

    study: Data
    why: dict[str, str]
    notes: tuple[str, ...]


def propose(found: Survey, dataset: Mapping[str, Any]) -> Proposal:
    """Return a study for these data.

    Args:
        found: what the data look like.
        dataset: the data set's entry in the study file.

    Raises:
        DataError: no study is possible: a class has fewer than 3 groups, or the task has no recipe yet.
    """
    folds, why_folds = _folds(found)
    budget = _budget(found, folds)
    seeds = 3 if found.labelled < 2000 else 2 if found.labelled < 20000 else 1
    chosen, why_chosen = mask_fields(found) if found.kind == "segmentation" else _whole_image_fields(found)
    study: Data = {
        "study": file_name(found.name),
        "baseline": "scratch",
        "datasets": [dict(dataset)],
        "preprocess": chosen["preprocess"],
        **{name: chosen[name] for name in ("patches",) if name in chosen},
        "augment": {"preset": "light", "flip_left_right": not found.sided},
        "folds": folds,
        "seeds": list(range(seeds)),
        "label_fractions": [1.0],
        "search": {"lrs": [3e-4, 3e-3], "share": 0.3},
        "common": {"net": chosen["net"], "budget": budget},
        "recipes": chosen["recipes"],
    }
    why = {
        "augment": "set flip_left_right: false where sides carry meaning (which lung, which breast, situs)",
        "folds": why_folds,
        "seeds": "each seed repeats every recipe with its own order, head and draws, the same for all recipes",
        "label_fractions": "[0.1, 0.3, 1.0] would show how much transfer saves in labels, at three times the time",
        "search": "every recipe gets the same search on validation, paid out of its steps",
        "budget": "a step is one batch; the same for every recipe",
        **why_chosen,
    }
    return Proposal(study=study, why=why, notes=_notes(found))


def _whole_image_fields(found: Survey) -> tuple[Data, dict[str, str]]:
    """Return size, network and recipes of a study that reads whole images, and why by field."""
    preprocess, why = _preprocess(found)
    longest = max(preprocess["size"])
    recipes, why_recipes = _recipes_2d() if found.dims == 2 else _recipes_3d(longest)
    fields = {"preprocess": preprocess, "net": _net(found.dims, longest), "recipes": recipes}
    return fields, {"preprocess": why, **why_recipes}


def file_name(text: str) -> str:
    """Return a text as a name that study files and folders can carry."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "study"


def _folds(found: Survey) -> tuple[int, str]:
    """Return the number of folds and why; 0 takes the data's own split."""
    if {"train", "test"} <= set(found.fixed_split):
        if "val" in found.fixed_split:
            return 0, "the data bring train, val and test"
        return 5, "the data bring train and test; one group in five of train becomes validation"
    fewest = min(found.classes.values(), default=found.units)
    if fewest < 3:
        name = min(found.classes, key=lambda each: found.classes[each])
        msg = (
            f"{found.name}: class {name!r} has {fewest} group(s) ({found.unit}); train, validation and test need one "
            "each. Add cases, merge it with another class, or drop it."
        )
        raise DataError(msg)
    kept = f"no {found.unit} is on both sides of a split"
    return (5, kept) if fewest >= 5 else (3, f"the rarest class has {fewest} groups, too few for 5 folds; {kept}")


def _budget(found: Survey, folds: int) -> Data:
    """Return about 30 passes over the training cases, within bounds."""
    train = found.labelled * (0.6 if folds in {0, 5} else 0.34)
    batch, least = (32, 8) if found.dims == 2 else (8, 8)
    if found.kind == "segmentation":
        batch, least = (8, 4) if found.dims == 2 else (2, 2)
    while batch > least and batch > train / 4:
        batch //= 2
    steps = int(min(2000, max(100, 30 * train / batch)))
    return {"steps": round(steps, -1), "batch": batch, "evals": 8}


def _preprocess(found: Survey) -> tuple[Data, str]:
    """Return size, channels and intensities, and why."""
    size = [_rounded(n, found) for n in found.size]
    out: Data = {"size": size}
    said = [f"the images are {'x'.join(map(str, found.size))}" + (" in the median" if found.sizes > 1 else "")]
    if len(found.channels) > 1:
        out["channels"] = 3 if 3 in found.channels else 1
        said.append(f"channel counts are mixed ({', '.join(map(str, sorted(found.channels)))})")
    if found.units_of_values == "HU":
        low, high = WINDOW
        out |= {"intensity": "window", "low": low, "high": high}
        said.append("Hounsfield units: narrow the window to the organ (lung -1000 to 400, soft tissue -160 to 240)")
    elif found.full_range is not None:
        out |= {"intensity": "unit", "low": found.full_range[0], "high": found.full_range[1]}
        said.append("the format's full range becomes 0 to 1")
    else:
        out["intensity"] = "percentile"
        said.append("values have no fixed unit: each image is clipped at its 0.5 % ends and standardised")
    return out, "; ".join(said)


def _rounded(n: int, found: Survey) -> int:
    """Shrink to the cap in proportion, then round to a multiple of what encoders divide by."""
    scale = min(1.0, CAP[found.dims] / max(found.size))
    return max(STEP, STEP * round(n * scale / STEP))


def _net(dims: int, longest: int) -> Data:
    if dims == 2:
        return {"encoder": ENCODER}
    return {"encoder": _resnet(longest), "dims": 3}


def _resnet(longest: int) -> str:
    return "resnet10_small" if longest <= 2 * STEP else "resnet10"


def _recipes_2d() -> tuple[list[Data], dict[str, str]]:
    source = {"source": CARD}
    rows: list[tuple[Data, str]] = [
        ({"name": "scratch", "start": "scratch"}, "the network that is transferred below, without transfer"),
        (
            {"name": "scratch-small", "start": "scratch", "net": {"encoder": "cbr_tiny"}},
            "a small plain network: often enough, and the honest competitor",
        ),
        ({"name": "imagenet", "start": "full", **source}, "all weights, all trained on"),
        ({"name": "mean-var", "start": "mean_var", **source}, "only the scale of each layer: no features are kept"),
        (
            {"name": "lowest-2", "start": {"partial": {"until": "stage2"}}, **source},
            "the lowest stages; the rest from scratch",
        ),
        (
            {"name": "linear-probe", "start": "full", **source, "tuning": "frozen", "augment": "none"},
            "features as they are; only the head learns",
        ),
        ({"name": "lp-ft", "start": "full", **source, "tuning": "lp_ft"}, "the head first, then everything"),
        ({"name": "l2-sp", "start": "full", **source, "tuning": "l2_sp"}, "pulled back to the transferred weights"),
        (
            {"name": "frozen-random", "start": "scratch", "tuning": "frozen", "augment": "none"},
            "random features: what a linear probe must beat",
        ),
    ]
    return [row for row, _ in rows], {f"recipes.{row['name']}": why for row, why in rows}


def _recipes_3d(longest: int) -> tuple[list[Data], dict[str, str]]:
    rows: list[tuple[Data, str]] = [
        ({"name": "scratch", "start": "scratch"}, f"{_resnet(longest)} in 3-D"),
        (
            {"name": "scratch-small", "start": "scratch", "net": {"encoder": "cbr_tiny"}},
            "a small plain network: often enough, and the honest competitor",
        ),
        ({"name": "gabor", "start": "gabor"}, "Gabor filters in the first layer, no weights of others needed"),
        (
            {"name": "frozen-random", "start": "scratch", "tuning": "frozen", "augment": "none"},
            "random features: the least that any transfer must beat",
        ),
    ]
    why = {f"recipes.{row['name']}": text for row, text in rows}
    why["recipes"] = (
        "no 3-D weights come with allograft yet. With your own: a card (allograft weights show tf_efficientnet_lite0-"
        "imagenet is an example) or the folder of a finished run as `source`"
    )
    return [row for row, _ in rows], why


def _notes(found: Survey) -> tuple[str, ...]:
    said = [
        f"{found.cases} cases, {found.units} {found.unit}s, {found.kind}: {found.modality}",
        *found.notes,
    ]
    if found.units < 40:
        said.append(f"{found.units} independent {found.unit}s: only large differences can be shown")
    return tuple(said)
