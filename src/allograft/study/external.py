"""External validation: networks of a study on other data, with intervals, subgroups and a fixed threshold.

Nothing is chosen on the external cases: weights, temperature and threshold come from the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.infer.ensemble import Predictor
from allograft.infer.inputs import Input
from allograft.infer.predict import Predicted, Prepared, decode, predict_prepared
from allograft.metrics.operating_point import Rule
from allograft.metrics.reliability import reliability
from allograft.study.external_masks import evaluate_masks
from allograft.study.external_result import Bin, Calibration, External
from allograft.study.known_images import KnownImages
from allograft.study.measured import known_number, only, subset_of, warnings_of
from allograft.study.operating import operating_results, validation_predictions
from allograft.study.subgroups import subgroups
from allograft.study.winner import Chosen

__all__ = ["evaluate"]


def evaluate(
    chosen: Chosen,
    predictor: Predictor,
    cohort: Cohort,
    *,
    by: Sequence[str] = (),
    site: str | None = None,
    rule: tuple[Rule, float] = ("youden", float("nan")),
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> External:
    """Judge networks on data that the study has not seen.

    Args:
        chosen: which networks; its study gives validation cases and the images that it knows.
        predictor: the same, opened.
        cohort: the external cases; those without a label are left out.
        by: columns to divide the cases by.
        site: what the table calls the site.
        rule: how the threshold is chosen on validation: "youden", or "sensitivity" or "specificity" with
            the wanted value; a segmentation has none.
        on_image: called with how many images are done, of how many.

    Raises:
        ConfigError: a column does not exist.
        DataError: the classes differ from the networks', or no case can be used.
    """
    _require_task(cohort.task, predictor.task)
    if predictor.task.kind == "segmentation":
        return evaluate_masks(chosen, predictor, cohort, by=by, site=site, on_image=on_image)
    labelled = cohort.labelled()
    groups = list(subgroups(labelled, by, site=site))
    known = KnownImages(chosen.study, predictor.preprocess) if chosen.study else None
    doubles: list[str] = []
    images = _watched(decode((Input(c.id, c.image) for c in labelled), predictor), known, doubles)
    found = list(predict_prepared(predictor, images, on_image=lambda done: on_image(done, len(labelled))))
    usable = [item for item in found if item.probabilities is not None]
    if not usable:
        first = found[0].error if found else f"{cohort.name} has no case with a label."
        msg = f"no external case can be used. First: {first}"
        raise DataError(msg)
    p = _predictions(labelled, usable, predictor.task)
    scored = _scored(p)
    operating, said = operating_results(validation_predictions(chosen, predictor), scored, rule)
    return External(
        networks=chosen.said,
        recipe=chosen.recipe,
        data=cohort.name,
        unit=cohort.unit,
        whole=subset_of(scored, labelled, "", ""),
        subsets=tuple(subset_of(_scored(only(p, ids)), labelled, column, value) for column, value, ids in groups),
        calibration=_calibration(scored),
        operating=operating,
        failed=tuple(item.error for item in found if item.error),
        duplicates=tuple(doubles),
        warnings=(*warnings_of(chosen, cohort, p, doubles, known), *said),
    )


def _require_task(got: Task, expected: Task) -> None:
    if (got.kind, got.classes) != (expected.kind, expected.classes):
        msg = (
            f"the external data have a {got.kind} task with classes {', '.join(got.classes)}; the networks answer a "
            f"{expected.kind} task with classes {', '.join(expected.classes)}. Rename the labels, in the same order."
        )
        raise DataError(msg)


def _watched(images: Iterator[Prepared], known: KnownImages | None, doubles: list[str]) -> Iterator[Prepared]:
    """Pass images on and keep the names of those that the study has."""
    for item in images:
        if known is not None and item.image is not None and known.has(item.image):
            doubles.append(item.name)
        yield item


def _predictions(cohort: Cohort, found: Sequence[Predicted], task: Task) -> Predictions:
    """Return predictions with their truth; logits are those of the averaged probabilities."""
    cases = [cohort[item.name] for item in found]
    p = np.stack([item.probabilities for item in found if item.probabilities is not None])
    safe = np.clip(p, 1e-12, 1 - 1e-12)
    odds = np.log(safe) - np.log1p(-safe)
    logits = {"binary": odds[:, 1:], "multilabel": odds}.get(task.kind, np.log(safe))
    return Predictions(
        task=task,
        ids=tuple(case.id for case in cases),
        groups=tuple(case.group for case in cases),
        logits=logits.astype(np.float32),
        probabilities=p,
        targets=np.array([case.targets[cohort.task.head] for case in cases], dtype=np.int64),
    )


def _scored(p: Predictions) -> Predictions:
    """Return what the task scores: each case, or each group by the mean of its cases."""
    return p.of_groups() if p.task.score_by == "group" and len(p) else p


def _calibration(p: Predictions) -> tuple[Calibration, ...]:
    return tuple(
        Calibration(
            label=label,
            bins=tuple(
                Bin(
                    low=b.low,
                    high=b.high,
                    cases=b.cases,
                    confidence=known_number(b.confidence),
                    right=known_number(b.right),
                )
                for b in bins
            ),
        )
        for label, bins in reliability(p).items()
    )
