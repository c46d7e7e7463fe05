"""Synthetic predictions for tests: noisy logits that know something of the truth."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax

from allograft.core.task import Task
from allograft.data.predictions import Predictions


def predictions(
    kind: str, *, n: int, seed: int = 0, absent: float = 0.0, one_class: bool = False, skill: float = 1.0,
    per_group: int = 1,
) -> Predictions:  # fmt: skip
    """Make predictions of n synthetic cases; every class occurs unless `one_class`."""
    rng = np.random.default_rng(seed)
    classes = {"binary": ("c0", "c1"), "regression": ("size",)}.get(kind, ("c0", "c1", "c2"))
    if kind == "multilabel":
        targets = rng.integers(0, 2, (n, 3))
        targets[0], targets[1] = 0, 1
        targets = np.ones_like(targets) if one_class else targets
        logits = skill * (2.0 * targets - 1) + rng.normal(size=(n, 3))
        probabilities = expit(logits.astype(np.float32).astype(float))
        targets = np.where(rng.random(targets.shape) < absent, -1, targets)
    elif kind == "binary":
        targets = np.r_[np.arange(n) % 2] if not one_class else np.ones(n, int)
        logits = (skill * (2.0 * targets - 1) + rng.normal(size=n))[:, None]
        yes = expit(logits.astype(np.float32).astype(float))
        probabilities = np.concatenate([1 - yes, yes], axis=1)
    elif kind == "multiclass":
        targets = np.arange(n) % 3 if not one_class else np.full(n, 2)
        logits = 1.5 * skill * np.eye(3)[targets] + rng.normal(size=(n, 3))
        probabilities = softmax(logits.astype(np.float32).astype(float), axis=1)
    else:
        targets = rng.normal(size=(n, 1))
        logits = targets + 0.3 * rng.normal(size=(n, 1))
        probabilities = np.ones((n, 1))
    return Predictions(
        task=Task(kind=kind, classes=classes),  # type: ignore[arg-type]
        ids=tuple(f"case{i}" for i in range(n)),
        groups=tuple(f"p{i // per_group}" for i in range(n)),
        logits=logits.astype(np.float32),
        probabilities=probabilities,
        targets=targets if kind == "regression" else targets.astype(np.int64),
    )
