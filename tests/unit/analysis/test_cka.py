from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from allograft.analysis.cca import cca_similarity
from allograft.analysis.cka import linear_cka
from allograft.analysis.similarity_map import similarity_map
from allograft.core.errors import DataError


def toy(n: int, d: int, a: float, b: float) -> np.ndarray:
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return np.sin(a * i + b * j + 0.1 * i * j)


X, Y = toy(40, 3, 0.8, 1.9), toy(40, 4, 0.5, 1.1)


def test_worked_value() -> None:
    assert linear_cka(X, Y) == pytest.approx(0.189256431, abs=5e-10)


def test_the_gram_route_gives_the_same_number() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 10, 30))
    xc, yc = x - x.mean(0), y - y.mean(0)
    direct = np.linalg.norm(xc.T @ yc) ** 2 / (np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc))
    assert linear_cka(x, y) == pytest.approx(direct)


def test_invariant_to_rotation_scale_and_shift() -> None:
    turn = ortho_group.rvs(4, random_state=0)
    assert linear_cka(X, 1e-9 * Y @ turn) == pytest.approx(linear_cka(X, Y))
    assert linear_cka(X + 5, Y - 2) == pytest.approx(linear_cka(X, Y))
    assert linear_cka(Y, X) == pytest.approx(linear_cka(X, Y))
    assert linear_cka(X, X) == pytest.approx(1.0)


def test_a_general_linear_map_does_change_it_though_not_cca() -> None:
    stretch = np.diag([1.0, 10.0, 0.1])
    assert abs(linear_cka(X @ stretch, Y) - linear_cka(X, Y)) > 0.01
    assert cca_similarity(X @ stretch, Y) == pytest.approx(cca_similarity(X, Y))


def test_dead_layer_is_refused() -> None:
    with pytest.raises(DataError, match="do not vary"):
        linear_cka(np.zeros((40, 2)), Y)


def test_map_has_a_row_per_layer_and_the_diagonal_of_one_network_is_one() -> None:
    layers = {"stem": X, "stage1": Y}
    found = similarity_map(layers, layers, linear_cka)
    assert found.rows == found.columns == ("stem", "stage1")
    assert np.diag(found.values) == pytest.approx([1, 1])
    assert found.values[0, 1] == pytest.approx(found.values[1, 0]) == pytest.approx(0.189256431)
