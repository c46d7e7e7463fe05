"""Localisation: where structures are, as centroids in mm, against where they should be.

Centroid  mean index of a connected component times the spacing; face, edge and corner neighbours
          connect (26 in 3-D, 8 in 2-D).
Matching  `match_components` pairs components with the least total distance (Hungarian); which
          number a component has does not matter. `match_labels` compares structures that have names
          (vertebrae), each by its largest component.
Missing   A true structure without a partner counts with the diagonal of the image, edge to edge, in the mean
          error, and as not identified: missing one can never improve a score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from allograft.core.config import Config
from allograft.metrics.segmentation.mask_pair import MaskPair, check_spacing
from allograft.metrics.segmentation.score import Classes, Labels, class_pairs

__all__ = ["Localisation", "LocalisationScore", "centroid_errors", "centroids"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class LocalisationScore(NamedTuple):
    """How well the structures of one case are located.

    Args:
        true: structures that are there.
        predicted: structures that are predicted.
        missed: true ones without a partner.
        false_alarms: predicted ones without a partner.
        error_mm: mean distance of the true ones to their partners, a miss counting as the image's
            diagonal; NaN where there are none.
        penalised_mm: the mean over pairs, misses and false alarms, the last two counting as the diagonal; NaN
            where there is nothing. Select models by this one: `error_mm` may gain from more
            predictions than there are structures.
        error_found_mm: the same over the pairs alone, NaN without any.
        identification_rate: share of the true ones that are identified, NaN where there are none.
    """

    true: int
    predicted: int
    missed: int
    false_alarms: int
    error_mm: float
    penalised_mm: float
    error_found_mm: float
    identification_rate: float


class Localisation(Config):
    """Settings of localisation.

    Args:
        within_mm: a structure is identified if its partner is nearer than this, > 0 (20 mm: ours, as
            commonly used for vertebrae; choose it for smaller structures).
        min_mm: components of a smaller volume (mm^3; mm^2 in 2-D) are dropped from the prediction, >= 0 (0: ours).
    """

    within_mm: float = Field(default=20.0, gt=0)
    min_mm: float = Field(default=0.0, ge=0)

    def match_components(self, prediction: Mask, truth: Mask, spacing_mm: Sequence[float]) -> LocalisationScore:
        """Compare the components of two masks (*S) bool.

        Raises:
            DataError: the masks are not boolean, differ in shape, or the spacing does not fit them.
        """
        pair = MaskPair(prediction, truth, spacing_mm)
        return centroid_errors(pair, within_mm=self.within_mm, min_mm=self.min_mm)

    def match_labels(
        self, prediction_labels: Labels, truth_labels: Labels, classes: Classes, spacing_mm: Sequence[float]
    ) -> LocalisationScore:
        """Compare structures by name; identified: the true centroid nearest to the predicted one is its own, and near.

        Args:
            prediction_labels: (*S) integers.
            truth_labels: (*S) integers on the same grid.
            classes: label values by structure.
            spacing_mm: distance between neighbours along each axis, > 0.

        Raises:
            ConfigError: a structure has no label values.
            DataError: the labels are not integers, differ in shape, or the spacing does not fit them.
        """
        pairs = class_pairs(prediction_labels, truth_labels, classes, spacing_mm)
        predicted: dict[str, Array] = {}
        true: dict[str, Array] = {}
        for name, pair in pairs.items():
            first = np.multiply(pair.offset, pair.spacing_mm)
            if len(places := centroids(pair.prediction, pair.spacing_mm, min_mm=self.min_mm)):
                predicted[name] = places[0] + first
            if len(places := centroids(pair.truth, pair.spacing_mm)):
                true[name] = places[0] + first
        diagonal = next(iter(pairs.values())).diagonal_mm
        both = [name for name in true if name in predicted]
        error = np.array([math.dist(true[name], predicted[name]) for name in both])
        nearest = np.array([min(math.dist(p, predicted[name]) for p in true.values()) for name in both])
        return _score(error, (error <= nearest) & (error < self.within_mm), len(true), len(predicted), diagonal)


def centroid_errors(pair: MaskPair, *, within_mm: float, min_mm: float) -> LocalisationScore:
    """Compare the components of two masks; the pairs have the least total distance.

    Args:
        pair: prediction and truth.
        within_mm: a true component is identified if its partner is nearer than this.
        min_mm: predicted components of a smaller volume (mm^3; mm^2 in 2-D) are dropped.
    """
    predicted = centroids(pair.prediction, pair.spacing_mm, min_mm=min_mm)
    true = centroids(pair.truth, pair.spacing_mm)
    distance = cdist(true, predicted)
    rows, columns = linear_sum_assignment(distance)
    found = distance[rows, columns]
    return _score(found, found < within_mm, len(true), len(predicted), pair.diagonal_mm)


def centroids(mask: Mask, spacing_mm: Sequence[float], *, min_mm: float = 0.0) -> Array:
    """Return (n, dims) centroids of connected components in mm from the first element's centre, largest first.

    Args:
        mask: (*S) bool, 2-D or 3-D.
        spacing_mm: distance between neighbours along each axis, > 0.
        min_mm: components of a smaller volume (mm^3; mm^2 in 2-D) are dropped.

    Raises:
        DataError: the spacing does not fit the mask.

    >>> mask = np.zeros((6, 6), bool)
    >>> mask[1:4, 2:4] = True
    >>> centroids(mask, (2.0, 1.0))
    array([[4. , 2.5]])
    """
    spacing = check_spacing(spacing_mm, mask.ndim)
    numbered, count = ndimage.label(mask, structure=np.ones([3] * mask.ndim))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    kept = order[sizes[order] * math.prod(spacing) >= min_mm]
    if not kept.size:
        return np.empty((0, mask.ndim))
    places: Array = np.asarray(ndimage.center_of_mass(mask, numbered, kept + 1)) * spacing
    return places


def _score(
    error: Array, identified: npt.NDArray[np.bool_], true: int, predicted: int, miss_mm: float
) -> LocalisationScore:
    """Return the score for the errors (n,) of n pairs."""
    missed = true - len(error)
    false_alarms = predicted - len(error)
    total = float(error.sum()) + missed * miss_mm
    counted = len(error) + missed + false_alarms
    return LocalisationScore(
        true=true,
        predicted=predicted,
        missed=missed,
        false_alarms=false_alarms,
        error_mm=total / true if true else float("nan"),
        penalised_mm=(total + false_alarms * miss_mm) / counted if counted else float("nan"),
        error_found_mm=float(error.mean()) if len(error) else float("nan"),
        identification_rate=float(identified.sum()) / true if true else float("nan"),
    )
