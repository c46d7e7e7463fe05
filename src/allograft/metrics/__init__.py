"""One metric per file; per-case values where they exist.

`METRICS` stands here and not in the catalog because reports open on machines without torch.
"""

from __future__ import annotations

from allograft.metrics.accuracy import Accuracy
from allograft.metrics.auprc import Auprc
from allograft.metrics.auroc import Auroc
from allograft.metrics.balanced_accuracy import BalancedAccuracy
from allograft.metrics.brier import Brier
from allograft.metrics.ece import Ece
from allograft.metrics.f1 import F1
from allograft.metrics.log_loss import LogLoss
from allograft.metrics.mae import Mae
from allograft.metrics.mask_mean import mask_mean
from allograft.metrics.metric import Metric
from allograft.metrics.segmentation import MASK_METRICS

__all__ = ["METRICS", "metrics_for"]

METRICS: dict[str, Metric] = {
    "auroc": Auroc(),
    "auprc": Auprc(),
    "balanced_accuracy": BalancedAccuracy(),
    "accuracy": Accuracy(),
    "f1": F1(),
    "log_loss": LogLoss(),
    "brier": Brier(),
    "ece": Ece(),
    "mae": Mae(),
    **{name: mask_mean(metric()) for name, metric in MASK_METRICS.items()},
}


def metrics_for(kind: str) -> dict[str, Metric]:
    """Return the metrics that are defined for a task kind."""
    return {name: metric for name, metric in METRICS.items() if kind in metric.kinds}
