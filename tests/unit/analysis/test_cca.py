from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA

from allograft.analysis.activations import as_matrix
from allograft.analysis.cca import cca, cca_similarity
from allograft.core.errors import DataError


def toy(n: int, d: int, a: float, b: float) -> np.ndarray:
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return np.sin(a * i + b * j + 0.1 * i * j)


X, Y = toy(40, 3, 0.8, 1.9), toy(40, 4, 0.5, 1.1)


def test_worked_values() -> None:
    assert cca(X, Y) == pytest.approx([0.850421, 0.260183, 0.095769], abs=5e-7)
    assert cca_similarity(X, Y) == pytest.approx(0.402124158, abs=5e-10)


def test_equals_sklearn() -> None:
    u, v = CCA(n_components=3, scale=False, max_iter=20000, tol=1e-12).fit_transform(X, Y)
    judge = [abs(np.corrcoef(u[:, k], v[:, k])[0, 1]) for k in range(3)]
    assert cca(X, Y) == pytest.approx(judge, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999))
def test_invariant_to_invertible_affine_maps_of_either_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixed = X @ (rng.normal(size=(3, 3)) + 3 * np.eye(3)) + rng.normal(size=3)
    assert cca(mixed, Y * 7 - 2) == pytest.approx(cca(X, Y), abs=1e-6)
    assert cca(Y, X) == pytest.approx(cca(X, Y))


def test_a_layer_is_perfectly_like_itself() -> None:
    assert cca(X, X) == pytest.approx(np.ones(3))


def test_dead_and_repeated_neurons_change_nothing() -> None:
    padded = np.hstack([X, np.full((40, 2), 3.0), X[:, :1]])
    assert cca(padded, Y) == pytest.approx(cca(X, Y))


def test_convolutions_count_every_position_as_a_data_point_in_2d_and_3d() -> None:
    flat = np.random.default_rng(0).normal(size=(48, 3))
    for space in ((2, 6), (2, 3, 2)):
        maps = np.moveaxis(flat.reshape(4, *space, 3), -1, 1)
        assert np.array_equal(as_matrix(maps), flat)


def test_refuses_too_few_data_points_where_every_layer_would_seem_alike() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="would be forced"):
        cca(rng.normal(size=(20, 12)), rng.normal(size=(20, 12)))
    assert cca_similarity(rng.normal(size=(2000, 12)), rng.normal(size=(2000, 12))) < 0.1


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        (X, Y[:30], "same images"),
        (np.ones((40, 3)), Y, "do not vary"),
        (np.where(X > 0.9, np.nan, X), Y, "not finite"),
        (X[:, 0], Y, "channel axis"),
    ],
)
def test_refusals(x, y, match) -> None:
    with pytest.raises(DataError, match=match):
        cca(x, y)
