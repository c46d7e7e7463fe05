"""External validation of a segmentation: label maps on each mask's own grid, scored by every metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.mask import read_mask
from allograft.data.mask_scores import MaskScores
from allograft.data.predictions import Predictions
from allograft.infer.ensemble import Predictor
from allograft.infer.inputs import Input
from allograft.infer.predict_masks import segment_inputs
from allograft.infer.score_masks import scored, table_of
from allograft.metrics import metrics_for
from allograft.metrics.segmentation import MASK_METRICS
from allograft.metrics.segmentation.metric import MaskMetric
from allograft.metrics.segmentation.score import ClassScore
from allograft.study.external_result import CaseScore, ClassResult, External
from allograft.study.known_images import KnownImages
from allograft.study.measured import known_number, measured, only, subset_of, warnings_of
from allograft.study.subgroups import subgroups
from allograft.study.winner import Chosen

__all__ = ["evaluate_masks"]


class _Judged(NamedTuple):
    """A case with the scores of its classes, or why it has none; `double` where the study has its image."""

    case: Case
    rows: tuple[ClassScore, ...] | None
    double: bool = False
    error: str = ""


def evaluate_masks(
    chosen: Chosen,
    predictor: Predictor,
    cohort: Cohort,
    *,
    by: Sequence[str] = (),
    site: str | None = None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> External:
    """Judge networks of a segmentation; arguments and errors as `external.evaluate`."""
    labelled = cohort.labelled()
    groups = list(subgroups(labelled, by, site=site))
    known = KnownImages(chosen.study, predictor.preprocess) if chosen.study else None
    metrics = [metric() for metric in MASK_METRICS.values()]
    found = []
    for done, one in enumerate(_judged(predictor, labelled, known, metrics), start=1):
        found.append(one)
        on_image(done, len(labelled))
    failed = tuple(one.error for one in found if one.error)
    usable = [(one.case, one.rows) for one in found if one.rows is not None]
    if not usable:
        first = failed[0] if failed else f"{cohort.name} has no case with a mask."
        msg = f"no external case can be used. First: {first}"
        raise DataError(msg)
    scores = table_of([rows for _, rows in usable], predictor.task, metrics)
    ids, units = tuple(case.id for case, _ in usable), tuple(case.group for case, _ in usable)
    p = Predictions.of_masks(predictor.task, ids, units, scores)
    doubles = tuple(one.case.id for one in found if one.double)
    return External(
        networks=chosen.said,
        recipe=chosen.recipe,
        data=cohort.name,
        unit=cohort.unit,
        whole=subset_of(p, labelled, "", ""),
        subsets=tuple(subset_of(only(p, chosen_ids), labelled, column, value) for column, value, chosen_ids in groups),
        by_class=_by_class(p, scores, cohort.unit),
        scores=tuple(_score(case, row) for case, rows in usable for row in rows),
        failed=failed,
        duplicates=doubles,
        warnings=tuple(warnings_of(chosen, cohort, p, doubles, known)),
    )


def _judged(
    predictor: Predictor, cohort: Cohort, known: KnownImages | None, metrics: Sequence[MaskMetric]
) -> Iterator[_Judged]:
    """Segment and score one case after another."""
    found = segment_inputs(predictor, (Input(case.id, case.image) for case in cohort))
    for case, one in zip(cohort, found, strict=True):
        if one.image is None or one.labels is None or one.prepared is None:
            yield _Judged(case, None, error=one.error)
            continue
        double = known is not None and known.has(one.prepared)
        target = case.targets[cohort.task.head]
        assert isinstance(target, ImageRef), "a segmentation's targets are masks"
        try:
            mask = read_mask(target, onto=case.image[0], dims=predictor.dims)
            _require_classes(mask.array.max(), predictor.task, target)
        except DataError as error:
            text = str(error)
            yield _Judged(case, None, double, text if case.id in text else f"{case.id}: {text}")
        else:
            rows = scored(one.labels, mask.array[0], one.image.geometry.spacing, predictor.task, metrics)
            yield _Judged(case, rows, double)


def _require_classes(highest: int, task: Task, target: ImageRef) -> None:
    if highest >= len(task.classes):
        msg = f"{target}: holds the label {highest}, the networks know 0 to {len(task.classes) - 1}. Correct the mask."
        raise DataError(msg)


def _by_class(p: Predictions, scores: MaskScores, unit: str) -> tuple[ClassResult, ...]:
    outcomes = scores.outcomes()
    out = []
    for name in scores.classes:
        own = Predictions.of_masks(p.task, p.ids, p.groups, scores.of_class(name))
        metrics = tuple(measured(metric, own, unit) for metric in metrics_for("segmentation").values())
        out.append(ClassResult(name=name, **outcomes[name], metrics=metrics))
    return tuple(out)


def _score(case: Case, row: ClassScore) -> CaseScore:
    return CaseScore(
        case=case.id,
        unit=case.group,
        name=row.name,
        outcome=row.outcome,
        truth=row.truth_voxels,
        predicted=row.predicted_voxels,
        values={name: known_number(value) for name, value in row.values.items()},
    )
