"""What external validation found, as data."""

from __future__ import annotations

from collections.abc import Mapping

from allograft.core.config import Config

__all__ = [
    "Bin", "Calibration", "CaseScore", "ClassResult", "External", "Measured", "OperatingResult", "Rate", "Subset",
]  # fmt: skip


class Measured(Config):
    """A metric with its interval over independent units; both ends None where there is none."""

    metric: str
    title: str
    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""


class Subset(Config):
    """All external cases, or those with one value in one column.

    Args:
        column: "" for all cases.
        value: of the column.
        cases: with a label and a readable image.
        units: independent ones among them.
        classes: cases by class.
        metrics: every metric of the task.
        note: why there are no intervals, "" where there are.
    """

    column: str = ""
    value: str = ""
    cases: int
    units: int
    classes: Mapping[str, int]
    metrics: tuple[Measured, ...]
    note: str = ""


class Bin(Config):
    """Cases whose probability lies in [low, high): how sure, and how often right; None where empty."""

    low: float
    high: float
    cases: int
    confidence: float | None
    right: float | None


class Calibration(Config):
    """A reliability diagram as data; `label` is the class asked for, "" for the most probable one."""

    label: str
    bins: tuple[Bin, ...]


class Rate(Config):
    """A share of cases with its interval."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    method: str
    of: int


class OperatingResult(Config):
    """A threshold chosen on the study's validation cases, applied to the external ones.

    Args:
        label: the class whose probability is meant.
        threshold: positive from here on.
        rule: how it was chosen.
        target: wanted sensitivity or specificity, None for Youden.
        validation_cases: that it was chosen on.
        on_validation: the rates there, which are optimistic.
        rates: sensitivity, specificity, PPV and NPV on the external cases.
    """

    label: str
    threshold: float
    rule: str
    target: float | None
    validation_cases: int
    on_validation: Mapping[str, float | None]
    rates: tuple[Rate, ...]


class ClassResult(Config):
    """One class or region of a segmentation over all external cases.

    Args:
        name: of the class.
        present: cases that hold it.
        missed: of these, cases where nothing was predicted; they count as the worst value.
        false_alarms: cases that do not hold it and where it was predicted; they count as the worst value.
        absent: cases with neither, which no metric counts.
        metrics: every metric of masks, over the cases that have a value.
    """

    name: str
    present: int
    missed: int
    false_alarms: int
    absent: int
    metrics: tuple[Measured, ...]


class CaseScore(Config):
    """One class or region of one external case.

    Args:
        case: its id.
        unit: its independent unit.
        name: of the class.
        outcome: "both", "missed", "false_alarm" or "absent".
        truth: elements that are true.
        predicted: elements that are predicted.
        values: by metric; None where the class is neither true nor predicted.
    """

    case: str
    unit: str
    name: str
    outcome: str
    truth: int
    predicted: int
    values: Mapping[str, float | None]


class External(Config):
    """External validation of a study's winner or of one run.

    Args:
        networks: which networks spoke, in words.
        recipe: its name, "" where unknown.
        data: name of the external data.
        unit: what is independent.
        whole: all cases.
        subsets: by column and value.
        by_class: of a segmentation, each class and region.
        scores: of a segmentation, each case and class.
        calibration: reliability bins.
        operating: thresholds from validation, none where there is no validation.
        failed: messages of images that could not be used.
        duplicates: external cases whose image the study has, by id.
        warnings: what a reader must know.
    """

    networks: str
    recipe: str
    data: str
    unit: str
    whole: Subset
    subsets: tuple[Subset, ...] = ()
    by_class: tuple[ClassResult, ...] = ()
    scores: tuple[CaseScore, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    operating: tuple[OperatingResult, ...] = ()
    failed: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
