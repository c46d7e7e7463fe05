from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allograft.stats.multiplicity import holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def _by_steps(p: list[float]) -> list[float]:
    """Holm's procedure as an order of tests: the smallest level at which each is rejected."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        out[i] = worst
    return out


@given(p_values)
def test_equals_the_step_by_step_procedure(p) -> None:
    assert holm(p) == pytest.approx(_by_steps(p))


@given(p_values)
def test_between_the_raw_values_and_bonferroni(p) -> None:
    adjusted = holm(p)
    assert np.all(adjusted >= np.array(p) - 1e-15)
    assert np.all(adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15)


def test_worked_value() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_missing_tests_stay_missing_and_do_not_count() -> None:
    assert holm([0.01, float("nan"), 0.03])[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(holm([0.01, float("nan"), 0.03])[1])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_refuses_what_is_no_p_value(bad) -> None:
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        holm([bad])
