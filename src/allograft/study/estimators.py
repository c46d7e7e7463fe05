"""Estimators: every estimate of a source, with what it needs of the features of a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability import cc_fv, gbc, h_score, knn, leep, linear_probe, logme, nce
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.reference import Reference

__all__ = ["ESTIMATORS", "Estimator", "Sample", "chosen"]

CLASSES = frozenset({"binary", "multiclass"})
ROWS = CLASSES | {"segmentation"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a started network says of training cases.

    Args:
        kind: of the task.
        features: (N, D) of cases, of a segmentation of drawn voxels.
        labels: (N,) classes; (N, L) of a multi-label task; (N,) values of a regression.
        groups: (N,) the independent unit of each row.
        probabilities: (N, Z) of the source's own classes, None where there are none.
        lacking: why there are none.
        layers: of a segmentation, (V, C_l) of the same voxels in each layer.
        layer_labels: (V,) their classes.
        layer_images: (V,) their images.
    """

    kind: str
    features: npt.NDArray[np.float64]
    labels: npt.NDArray[Any]
    groups: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64] | None = None
    lacking: str = ""
    layers: tuple[npt.NDArray[np.float64], ...] = ()
    layer_labels: npt.NDArray[np.int64] | None = None
    layer_images: npt.NDArray[np.int64] | None = None


class Estimator(NamedTuple):
    """One estimate.

    Args:
        title: in words.
        paper: to cite.
        kinds: of tasks that it fits.
        value: gives it for a sample; larger promises more. A `DataError` says why there is none.
    """

    title: str
    paper: Reference
    kinds: frozenset[str]
    value: Callable[[Sample], float]


def _logme(sample: Sample) -> float:
    if sample.kind in ROWS:
        return logme.logme(sample.features, sample.labels)
    targets = sample.labels.reshape(len(sample.labels), -1).astype(np.float64)
    known = targets[:, targets.any(axis=0)]
    return float(np.mean([one.value for one in logme.logme_of_targets(sample.features, known)]))


def _probabilities(sample: Sample) -> npt.NDArray[np.float64]:
    if sample.probabilities is None:
        raise DataError(sample.lacking)
    return sample.probabilities


def _cc_fv(sample: Sample) -> float:
    assert sample.layer_labels is not None, "a segmentation's sample holds layers"
    assert sample.layer_images is not None, "a segmentation's sample holds layers"
    return cc_fv.cc_fv(sample.layers, sample.layer_labels, sample.layer_images)


ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "logme": Estimator("LogME", logme.PAPER, ROWS | {"multilabel", "regression"}, _logme),
        "leep": Estimator("LEEP", leep.PAPER, CLASSES, lambda s: leep.leep(_probabilities(s), s.labels)),
        "nce": Estimator("NCE", nce.PAPER, CLASSES, lambda s: nce.nce(_probabilities(s), s.labels)),
        "h_score": Estimator("H-score", h_score.PAPER, ROWS, lambda s: h_score.h_score(s.features, s.labels)),
        "gbc": Estimator("GBC", gbc.PAPER, ROWS, lambda s: gbc.gbc(s.features, s.labels)),
        "knn": Estimator("kNN", knn.PAPER, ROWS, lambda s: knn.knn(s.features, s.labels, s.groups)),
        "linear_probe": Estimator(
            "linear probe",
            linear_probe.PAPER,
            ROWS,
            lambda s: linear_probe.linear_probe(s.features, s.labels, s.groups),
        ),
        "cc_fv": Estimator("CC-FV", cc_fv.PAPER, frozenset({"segmentation"}), _cc_fv),
    }
)


def chosen(names: tuple[str, ...], kinds: set[str]) -> tuple[str, ...]:
    """Return the estimators that were asked for; none named takes all that fit a task of the study.

    Args:
        names: as asked for.
        kinds: of the study's tasks.

    Raises:
        ConfigError: one is unknown, or fits no task of the study.
    """
    for name in names:
        if name not in ESTIMATORS:
            msg = f'score: no estimator "{name}". {did_you_mean(name, ESTIMATORS)}'
            raise ConfigError(msg)
        if not kinds & ESTIMATORS[name].kinds:
            fits = ", ".join(sorted(ESTIMATORS[name].kinds))
            msg = f'score: "{name}" is for tasks of kind {fits}; this study has {", ".join(sorted(kinds))}.'
            raise ConfigError(msg)
    return tuple(names) or tuple(name for name, one in ESTIMATORS.items() if kinds & one.kinds)
