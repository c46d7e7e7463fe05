"""The terms of a segmentation loss: overlaps with the truth, and entropies of elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from allograft.functional.cross_entropy import smooth, soft_cross_entropy
from allograft.functional.dice import dice_of
from allograft.functional.focal import focal
from allograft.functional.generalised_dice import generalised_dice
from allograft.functional.overlap import Overlap, overlap
from allograft.functional.tversky import tversky
from allograft.objectives.segmentation_truth import Truth, by_region

__all__ = ["Overlaps", "element_terms", "overlap_terms"]


class Overlaps(NamedTuple):
    """Which overlaps are taken and how; see `SegmentationLoss`.

    Attributes:
        terms: of "dice", "tversky" and "generalised_dice".
        first: number of the first class that counts.
    """

    terms: tuple[str, ...]
    tversky_alpha: float
    tversky_beta: float
    batch: bool
    squared: bool
    smooth: float
    first: int


def overlap_terms(
    logs: Tensor, truth: Truth, class_weights: Tensor, table: Tensor | None, how: Overlaps
) -> dict[str, Tensor]:
    """Return 1 - overlap by term, over all cases at once or as a mean over the cases.

    Args:
        logs: log-probabilities (N, L, *S).
        truth: of the N cases.
        class_weights: (L,).
        table: (R, L) of regions, None for classes.
        how: the terms and their settings.
    """
    if not how.terms:
        return {}
    p, target = logs.exp(), truth.target
    if not len(p):
        return {name: p.sum() for name in how.terms}
    if table is not None:
        p, target = by_region(p, target, table)
        class_weights = table @ class_weights / table.sum(1)
    weight = truth.both if how.batch else truth.element
    own = class_weights[how.first :]
    found = {}
    for name in how.terms:
        squared = how.squared and name == "dice"
        sums = overlap(p, target, weight=weight, batch=how.batch, squared=squared).classes(how.first)
        each = 1 - _score(name, sums, own, how)
        found[name] = each if how.batch else _over_cases(each, truth)
    return found


def _score(name: str, sums: Overlap, weights: Tensor, how: Overlaps) -> Tensor:
    """Return one overlap of all classes, (N,), or () over the batch."""
    if name == "generalised_dice":
        return generalised_dice(sums, class_weights=weights, smooth=how.smooth)
    if name == "tversky":
        each = tversky(sums, alpha=how.tversky_alpha, beta=how.tversky_beta, smooth=how.smooth)
    else:
        each = dice_of(sums, smooth=how.smooth)
    return each @ (weights / weights.sum())


def _over_cases(each: Tensor, truth: Truth) -> Tensor:
    """Return the mean over cases: an overlap does not change with the size of a case's weights, so this carries it."""
    share = torch.ones_like(each) if truth.case is None else truth.case.to(each)
    if truth.element is not None:
        share = share * (truth.element.flatten(1).sum(1) > 0)
    return _ratio((each * share).sum(), share.sum())


def element_terms(
    terms: Sequence[str], logs: Tensor, truth: Truth, class_weights: Tensor, how: tuple[float, float]
) -> dict[str, Tensor]:
    """Return the weighted mean over elements by term ("cross_entropy", "focal").

    Args:
        terms: which.
        logs: log-probabilities (N, L, *S).
        truth: of the N cases.
        class_weights: (L,).
        how: label smoothing of the cross-entropy, and the focal loss's gamma.
    """
    if not terms:
        return {}
    smoothing, gamma = how
    if truth.target.ndim == logs.ndim:
        share = torch.einsum("bl...,l->b...", truth.target.to(logs.dtype), class_weights)
    else:
        share = class_weights[truth.target]
    counted = share if truth.both is None else share * truth.both
    found = {}
    for name in terms:
        if name == "focal":
            value = focal(logs, truth.target, class_weights, gamma=gamma)
        else:
            value = _cross_entropy(logs, truth.target, class_weights, smoothing)
        value = value if truth.both is None else value * truth.both
        found[name] = _ratio(value.sum(), counted.sum())
    return found


def _cross_entropy(logs: Tensor, target: Tensor, class_weights: Tensor, smoothing: float) -> Tensor:
    """Return the weighted cross-entropy of each element, (N, *S)."""
    if target.ndim == logs.ndim:
        return soft_cross_entropy(logs, smooth(target.to(logs.dtype), smoothing, logs.shape[1]), class_weights)
    value = -logs.gather(1, target[:, None])[:, 0] * class_weights[target]
    if smoothing:
        even = torch.einsum("bl...,l->b...", logs, class_weights) / logs.shape[1]
        value = (1 - smoothing) * value - smoothing * even
    return value


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """Return the mean; 0 with a gradient path where nothing counts."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
