from __future__ import annotations

import numpy as np
import pytest

from allograft.analysis.filter_change import best_match, filter_cosine, layer_changes, relative_change
from allograft.core.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kernel", [(), (3, 3), (3, 3, 3)])
def test_a_frozen_layer_has_not_changed(kernel: tuple[int, ...]) -> None:
    w = RNG.normal(size=(8, 4, *kernel))
    assert relative_change(w, w) == 0.0
    assert filter_cosine(w, w) == pytest.approx(np.ones(8))
    assert best_match(w, w) == pytest.approx(np.ones(8))


def test_by_hand() -> None:
    before, after = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 2.0]])
    assert relative_change(before, after) == pytest.approx(np.sqrt(5 / 26))
    assert filter_cosine(before, after) == pytest.approx([1.0, 0.0])


def test_best_match_equals_numpys_corrcoef() -> None:
    before, after = RNG.normal(size=(2, 6, 3, 3, 3))
    table = np.abs(np.corrcoef(after.reshape(6, -1), before.reshape(6, -1))[:6, 6:])
    assert best_match(before, after) == pytest.approx(table.max(axis=1))


def test_permuted_filters_are_found_by_the_match_and_not_by_the_cosine() -> None:
    w = RNG.normal(size=(16, 3, 5, 5))
    mixed = np.roll(w, 1, axis=0)
    assert best_match(w, mixed) == pytest.approx(np.ones(16))
    assert np.abs(filter_cosine(w, mixed)).max() < 0.5
    assert relative_change(w, mixed) > 1.2


def test_scaling_all_weights_changes_size_but_no_direction() -> None:
    w = RNG.normal(size=(4, 9))
    assert relative_change(w, 3 * w) == pytest.approx(2.0)
    assert filter_cosine(w, 3 * w) == pytest.approx(np.ones(4))


def test_dead_filters_have_no_direction() -> None:
    w = RNG.normal(size=(3, 9))
    dead = w.copy()
    dead[1] = 0
    assert np.isnan(filter_cosine(w, dead)).tolist() == [False, True, False]
    assert np.isnan(best_match(w, dead)).tolist() == [False, True, False]
    assert np.isnan(relative_change(np.zeros((2, 2)), np.ones((2, 2))))


def test_layers_are_listed_in_order_without_biases() -> None:
    before = {
        "conv.weight": RNG.normal(size=(4, 3, 3, 3)),
        "conv.bias": np.zeros(4),
        "fc.weight": RNG.normal(size=(2, 4)),
    }
    after = {**before, "fc.weight": before["fc.weight"] * 2}
    found = layer_changes(before, after)
    assert [(one.name, one.relative) for one in found] == [("conv.weight", 0.0), ("fc.weight", pytest.approx(1.0))]


def test_refuses_other_names_and_shapes() -> None:
    with pytest.raises(DataError, match="'b' is in only one"):
        layer_changes({"a": np.ones((2, 2))}, {"a": np.ones((2, 2)), "b": np.ones((2, 2))})
    with pytest.raises(DataError, match="differ in shape"):
        relative_change(np.ones((2, 2)), np.ones((2, 3)))
