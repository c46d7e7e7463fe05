from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allograft.core.errors import DataError
from allograft.stats.convergence import Reached, median_steps, speed_up, steps_to_threshold

CURVE = [(0, 0.5), (10, 0.92), (20, 0.80), (30, 0.91), (40, 0.95), (50, 0.93)]


def test_first_evaluation_at_or_above_the_threshold() -> None:
    assert steps_to_threshold(CURVE, 0.91) == Reached(10, 50, 10)
    assert steps_to_threshold(CURVE, 0.92).step == 10  # equal counts


def test_reached_then_lost_does_not_count_when_it_must_hold() -> None:
    assert steps_to_threshold(CURVE, 0.91, held=2).step == 30
    assert steps_to_threshold(CURVE, 0.91, held=3).step == 30
    assert steps_to_threshold(CURVE, 0.91, held=4).step is None


def test_never_reached_is_censored_at_the_last_evaluation() -> None:
    assert steps_to_threshold(CURVE, 0.99) == Reached(None, 50, 0)


def test_losses_fall_to_their_threshold() -> None:
    assert steps_to_threshold([(1, 2.0), (2, 0.5), (3, 0.4)], 0.5, larger_is_better=False).step == 2


def test_a_metric_that_is_not_a_number_never_counts() -> None:
    assert steps_to_threshold([(1, float("nan")), (2, 0.9)], 0.5).step == 2
    assert steps_to_threshold([(1, float("nan"))], 0.5, larger_is_better=False).step is None


@pytest.mark.parametrize("curve", [[], [(2, 0.1), (1, 0.2)], [(1, 0.1), (1, 0.2)]])
def test_refuses_curves_out_of_order(curve) -> None:
    with pytest.raises(DataError, match="rising steps"):
        steps_to_threshold(curve, 0.5)


def test_refuses_holding_for_no_evaluation() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        steps_to_threshold(CURVE, 0.5, held=0)


def _runs(*steps: int | None, last: int = 100) -> list[Reached]:
    return [Reached(step, last, 10) for step in steps]


@given(st.lists(st.integers(1, 99), min_size=1, max_size=9))
def test_with_all_runs_complete_it_is_the_ordinary_median(steps) -> None:
    assert median_steps(_runs(*steps)).steps == np.median(steps)


def test_runs_that_never_reach_it_are_kept() -> None:
    some = median_steps(_runs(10, 20, None, None, None))
    assert some.steps is None
    assert (some.at_least, some.reached, some.runs) == (100, 2, 5)
    assert median_steps(_runs(10, 20)).steps == 15  # what dropping them would have claimed
    assert median_steps(_runs(10, 20, 30, None, None)).steps == 30


def test_half_reached_leaves_the_median_open() -> None:
    assert median_steps(_runs(10, 20, None, None)) == (None, 20, 2, 4)


def test_early_stopped_runs_are_at_risk_until_they_stop() -> None:
    # Kaplan-Meier by hand: S(20) = 3/4 after one event among 4 at risk, one run leaves at 30,
    # S(40) = 3/4 * 1/2 = 3/8 < 1/2.
    runs = [Reached(20, 100, 10), Reached(None, 30, 0), Reached(40, 100, 10), Reached(None, 100, 0)]
    assert median_steps(runs).steps == 40


def test_speed_up_is_a_bound_where_a_median_is_open() -> None:
    fast, slow, never = (
        median_steps(_runs(10, 20, 30)),
        median_steps(_runs(40, 50, 60)),
        median_steps(_runs(None, None)),
    )
    assert speed_up(slow, fast) == (2.5, "equal")
    assert speed_up(never, fast) == (5.0, "at least")
    assert speed_up(fast, never) == (0.2, "at most")
    assert speed_up(never, never) == (None, "unknown")
    assert speed_up(slow, median_steps([Reached(0, 100, 0)])) == (None, "unknown")
