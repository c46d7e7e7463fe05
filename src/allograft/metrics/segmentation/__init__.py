"""Segmentation metrics: numpy and scipy only; one metric per file; no miss improves a score."""

from __future__ import annotations

from allograft.metrics.segmentation.assd import ASSD
from allograft.metrics.segmentation.dice import Dice
from allograft.metrics.segmentation.hd95 import HD95
from allograft.metrics.segmentation.iou import IoU
from allograft.metrics.segmentation.localisation_error import LocalisationError
from allograft.metrics.segmentation.metric import MaskMetric
from allograft.metrics.segmentation.relative_volume_difference import RelativeVolumeDifference
from allograft.metrics.segmentation.surface_dice import SurfaceDice
from allograft.metrics.segmentation.volume_difference import VolumeDifference

__all__ = ["MASK_METRICS"]

MASK_METRICS: dict[str, type[MaskMetric]] = {
    metric.name: metric
    for metric in (
        Dice,
        IoU,
        HD95,
        ASSD,
        SurfaceDice,
        VolumeDifference,
        RelativeVolumeDifference,
        LocalisationError,
    )
}
