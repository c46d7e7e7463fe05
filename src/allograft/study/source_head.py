"""Source head: the source's own class probabilities, where its card keeps the classifier."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action
from allograft.weights.schedule import is_task
from allograft.weights.source import SourceWeights

__all__ = ["head_probabilities"]

CHANGED = {Action.FRESH, Action.SAMPLE, Action.COMPUTE, Action.SELECT}
"""What leaves a tensor with other values than the source's; channels and axes may be adapted."""


def head_probabilities(
    source: SourceWeights | None, plan: TransferPlan, pooled: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64] | None, str]:
    """Return the source's class probabilities (N, Z) for pooled features (N, F), or None and the reason.

    A classifier of one logit gives two classes; several logits are read as one of Z.
    """
    if source is None:
        return None, "not available: the recipe has no source, so there are no source classes"
    changed = [e.target for e in plan.entries if not is_task(e.stage) and e.action in CHANGED and e.kind != "buffer"]
    changed = [name for name in changed if not name.endswith("num_batches_tracked")]
    if changed:
        return (
            None,
            f"not available: start {plan.start} changes the encoder, which the source's classifier then misreads",
        )
    heads = [key for key, shape in source.shapes.items() if key.startswith("heads.") and _is_linear(key, shape)]
    if len(heads) != 1:
        kept = f"keeps {len(heads)} classifiers, not one" if heads else "drops the classifier"
        return None, f'not available: the card "{source.card.name}" {kept}'
    weight = source[heads[0]]
    if weight.shape[1] != pooled.shape[1]:
        widths = f"{weight.shape[1]} features, the encoder gives {pooled.shape[1]}"
        return None, f"not available: the source's classifier reads {widths}"
    bias_key = heads[0].removesuffix("weight") + "bias"
    bias = source[bias_key].double() if bias_key in source else torch.zeros(len(weight), dtype=torch.float64)
    logits = torch.from_numpy(pooled) @ weight.double().T + bias
    if len(weight) == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    return logits.softmax(1).numpy(), ""


def _is_linear(key: str, shape: tuple[int, ...]) -> bool:
    return key.endswith("weight") and len(shape) == 2
