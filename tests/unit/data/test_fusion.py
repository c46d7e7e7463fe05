"""Fusion: means of probabilities by hand, majorities against SciPy, ties, and what cannot be fused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.fusion import mean_of, vote
from allograft.data.predictions import Predictions

TASK = Task(kind="multiclass", classes=("a", "b", "c"))


def predictions(seed, ids=("x", "y", "z"), targets=(0, 1, 2)):
    p = np.random.default_rng(seed).dirichlet(np.ones(3), 3)
    return Predictions(
        task=TASK,
        ids=ids,
        groups=ids,
        logits=np.log(p).astype(np.float32),
        probabilities=p,
        targets=np.array(targets, dtype=np.int64),
    )


def test_is_the_mean_of_probabilities_whatever_the_order_of_cases():
    one, two = predictions(0), predictions(1, ids=("z", "x", "y"), targets=(2, 0, 1))
    found = mean_of([one, two])
    assert found.ids == one.ids
    np.testing.assert_allclose(found.probabilities, (one.probabilities + two.probabilities[[1, 2, 0]]) / 2)
    np.testing.assert_allclose(np.exp(found.logits), found.probabilities, rtol=1e-5)


def test_one_member_is_itself_and_two_equal_ones_too():
    one = predictions(0)
    for members in ([one], [one, one]):
        np.testing.assert_allclose(mean_of(members).probabilities, one.probabilities)


def test_refuses_other_cases_other_truth_and_nobody():
    with pytest.raises(DataError, match="same task and cases"):
        mean_of([predictions(0), predictions(1, ids=("x", "y", "w"))])
    with pytest.raises(DataError, match="targets differ"):
        mean_of([predictions(0), predictions(1, targets=(0, 1, 1))])
    with pytest.raises(DataError, match="got none"):
        mean_of([])


@pytest.mark.parametrize("shape", [(40, 30), (12, 10, 8)])
def test_majority_equals_scipys_mode_where_there_is_no_tie(shape):
    draws = np.random.default_rng(3)
    maps = [draws.integers(0, 4, shape).astype(np.uint8) for _ in range(5)]
    counts = np.stack([(np.stack(maps) == c).sum(0) for c in range(4)])
    clear = (counts == counts.max(0)).sum(0) == 1
    assert clear.mean() > 0.3
    np.testing.assert_array_equal(vote(maps)[clear], stats.mode(np.stack(maps), axis=0).mode[clear])
    assert vote(maps).dtype == np.uint8


def test_ties_go_to_a_structure_and_then_to_the_first_named():
    one, two = np.array([0, 1, 1, 2, 0]), np.array([1, 0, 2, 1, 0])
    assert vote([one, two]).tolist() == [1, 1, 1, 2, 0]
    assert vote([two, one]).tolist() == [1, 1, 2, 1, 0]
