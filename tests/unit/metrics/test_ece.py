from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from allograft.metrics.ece import Ece
from synthetic_predictions import predictions


def test_binary_equals_torchmetrics() -> None:
    p = predictions("binary", n=200)
    judge = binary_calibration_error(torch.tensor(p.probabilities[:, 1]), torch.tensor(p.targets), n_bins=15)
    assert Ece().value(p) == pytest.approx(float(judge), abs=1e-6)


def test_multiclass_equals_torchmetrics() -> None:
    p = predictions("multiclass", n=200)
    judge = multiclass_calibration_error(torch.tensor(p.probabilities), torch.tensor(p.targets), 3, n_bins=15)
    assert Ece().value(p) == pytest.approx(float(judge), abs=1e-6)


def test_multilabel_is_the_mean_over_labels() -> None:
    p = predictions("multilabel", n=120, absent=0.1)
    rows = p.targets >= 0
    by_label = [
        float(binary_calibration_error(torch.tensor(p.probabilities[r, k]), torch.tensor(p.targets[r, k]), n_bins=15))
        for k, r in enumerate(rows.T)
    ]
    assert Ece().value(p) == pytest.approx(np.mean(by_label), abs=1e-6)
    assert list(Ece().per_class(p).values()) == pytest.approx(by_label, abs=1e-6)


def test_worked_value() -> None:
    p = predictions("binary", n=4)
    yes = np.array([0.1, 0.9, 0.9, 0.9])
    p = replace(p, probabilities=np.stack([1 - yes, yes], 1), targets=np.array([0, 1, 1, 0]))
    # bin of 0.1: |0 - 0.1| of 1 case; bin of 0.9: |2/3 - 0.9| of 3 cases
    assert Ece().value(p) == pytest.approx((0.1 + 3 * (0.9 - 2 / 3)) / 4)


def test_synthetic_calibrated_answers_score_near_zero_and_too_sure_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    yes = rng.random(20000)
    p = predictions("binary", n=20000)
    p = replace(p, probabilities=np.stack([1 - yes, yes], 1), targets=(rng.random(20000) < yes).astype(np.int64))
    assert Ece().value(p) < 0.015
    sure = np.where(yes > 0.5, 0.99, 0.01)
    assert Ece().value(replace(p, probabilities=np.stack([1 - sure, sure], 1))) > 0.2
