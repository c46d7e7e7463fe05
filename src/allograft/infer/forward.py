"""Forward passes without training: the same numbers each time, and the network left as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import ConfigError, DataError, NumericsError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.predictions import Predictions
from allograft.functional.probabilities import probabilities
from allograft.infer.views import Views, judged_by_views
from allograft.nets.modes import evaluating
from allograft.nets.network import Network

__all__ = ["predict"]


def predict(
    net: Network,
    batches: Iterable[Batch],
    task: Task,
    *,
    groups: Mapping[str, str],
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    views: Views = "plain",
) -> Predictions:
    """Predict every case of `batches` once, in their order.

    Args:
        net: the network; its modes and tensors stay as they are.
        batches: images (B, C, *S) or levels of the feature cache, with ids.
        task: what is predicted: binary, multiclass or multilabel.
        groups: the independent unit of each case id.
        precision: of the arithmetic, as the training's.
        views: "plain", or "ten_crop" to average the probabilities of ten crops of each 2-D image.

    Raises:
        ConfigError: the task's kind is not predicted case by case, or there are no images to crop.
        DataError: there is no case, or an id comes twice or has no group.
        NumericsError: a logit is not finite; names the cases.
    """
    if task.kind not in {"binary", "multiclass", "multilabel"}:
        msg = f'predict() gives classes of cases; a task of kind "{task.kind}" needs another inferer.'
        raise ConfigError(msg)
    device = next(net.parameters()).device
    ids: list[str] = []
    logits, targets = [], []
    with evaluating(net):
        for batch in batches:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                out = _logits(net, batch.to(device).image, task, views)
            ids += batch.ids
            logits.append(out.float().cpu())
            targets.append(_truth(batch, task, len(out)))
    _check_ids(ids, sum(map(len, logits)), groups)
    together = torch.cat(logits)
    _check_finite(ids, together)
    return Predictions(
        task=task,
        ids=tuple(ids),
        groups=tuple(groups[name] for name in ids),
        logits=together.numpy(),
        probabilities=probabilities(together.double(), task.kind).numpy(),
        targets=np.concatenate(targets),
    )


def _logits(net: Network, image: Tensor | tuple[Tensor, ...], task: Task, views: Views) -> Tensor:
    """Return the logits (B, O) of images or levels."""
    if views == "plain":
        return net(image).logits[task.head]  # type: ignore[no-any-return] # a module's call is untyped
    assert isinstance(image, Tensor), "features of whole images have no crops; the caller predicts from images"
    return judged_by_views(lambda crop: net(crop).logits[task.head], image, task.kind)


def _truth(batch: Batch, task: Task, size: int) -> npt.NDArray[np.int64]:
    """Return targets (B,), or (B, L) for multilabel; -1 where absent."""
    shape = (size, len(task.classes)) if task.kind == "multilabel" else (size,)
    if task.head not in batch.targets:
        return np.full(shape, -1, dtype=np.int64)
    target = batch.targets[task.head].cpu()
    if task.kind == "multiclass" and target.ndim == 2:
        target = target.nan_to_num(0).argmax(1)  # soft targets; absent rows are masked below
    known = target >= 0  # NaN and numbers below 0 are no class
    here = batch.present[task.head].cpu().reshape(-1, *[1] * (len(shape) - 1))
    whole = torch.where(known, target, torch.zeros_like(target)).long().reshape(shape)
    return torch.where(known.reshape(shape) & here, whole, torch.full_like(whole, -1)).numpy()


def _check_ids(ids: list[str], rows: int, groups: Mapping[str, str]) -> None:
    """Refuse predictions that cannot be told apart or assigned to a unit."""
    if not rows or len(ids) != rows:
        msg = f"predict() needs batches with an id for every case: got {rows} cases and {len(ids)} ids."
        raise DataError(msg)
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        msg = f"case {twice} is predicted twice: expected each case once. Take evaluation batches, not training ones."
        raise DataError(msg)
    lacking = [name for name in ids if name not in groups]
    if lacking:
        msg = f"case {lacking[0]}: no group is given ({len(lacking)} such cases). Pass the cohort's groups."
        raise DataError(msg)


def _check_finite(ids: list[str], logits: Tensor) -> None:
    """Refuse predictions that are not numbers."""
    bad = [name for name, fine in zip(ids, logits.isfinite().all(1).tolist(), strict=True) if not fine]
    if bad:
        msg = (
            f"the network's outputs are not finite for {len(bad)} of {len(ids)} cases: {', '.join(bad[:8])}"
            f"{' ...' if len(bad) > 8 else ''}. Look at these images; if they are sound, the weights have diverged."
        )
        raise NumericsError(msg)
