"""Probabilities against scipy, for every kind and for maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from allograft.core.errors import ConfigError
from allograft.functional.probabilities import probabilities

SHAPES = [(), (4, 5), (2, 3, 4)]


@pytest.mark.parametrize("space", SHAPES)
def test_each_kind_equals_scipy(space):
    x = torch.randn(3, 4, *space) * 3
    a = x.double().numpy()
    np.testing.assert_allclose(probabilities(x, "multiclass"), softmax(a, axis=1), atol=1e-6)
    np.testing.assert_allclose(probabilities(x, "segmentation"), softmax(a, axis=1), atol=1e-6)
    np.testing.assert_allclose(probabilities(x, "multilabel"), expit(a), atol=1e-6)
    one = probabilities(x[:, :1], "binary")
    assert one.shape == (3, 2, *space)
    np.testing.assert_allclose(one[:, 1], expit(a[:, 0]), atol=1e-6)
    np.testing.assert_allclose(one.sum(1), 1, atol=1e-6)


def test_binary_keeps_small_probabilities():
    p = probabilities(torch.tensor([[40.0], [-40.0]]), "binary")
    assert p[0, 0] == pytest.approx(np.exp(-40), rel=1e-5)
    assert p[1, 1] == pytest.approx(np.exp(-40), rel=1e-5)


def test_half_precision_is_widened():
    assert probabilities(torch.zeros(1, 3, dtype=torch.bfloat16), "multiclass").dtype == torch.float32
    assert probabilities(torch.zeros(1, 3, dtype=torch.float64), "multiclass").dtype == torch.float64


@pytest.mark.parametrize(("shape", "kind"), [((2, 2), "binary"), ((2,), "binary"), ((2, 1), "regression")])
def test_what_has_no_probabilities_is_refused(shape, kind):
    with pytest.raises(ConfigError):
        probabilities(torch.zeros(shape), kind)
