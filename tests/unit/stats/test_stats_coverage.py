from __future__ import annotations

import pytest

from allograft.stats.coverage import interval_coverage


@pytest.mark.parametrize(("n", "trials"), [(10, 4000), (20, 4000), (39, 4000)])
def test_t_on_synthetic_normal_data_covers_93_to_97_percent(n: int, trials: int) -> None:
    ours, _ = interval_coverage(n, "normal", trials=trials, seed=1)
    assert ours.method == "t"
    assert 0.93 <= ours.coverage <= 0.97


@pytest.mark.parametrize(("n", "trials"), [(40, 800), (100, 500)])
def test_bca_on_synthetic_normal_data_covers_93_to_97_percent(n: int, trials: int) -> None:
    ours, _ = interval_coverage(n, "normal", trials=trials, resamples=500, seed=1)
    assert ours.method == "BCa"
    assert 0.93 <= ours.coverage <= 0.97


def test_the_check_can_say_no_to_the_naive_interval() -> None:
    _, naive = interval_coverage(6, "normal", trials=4000, seed=1)
    assert naive.method == "naive"
    assert naive.coverage < 0.93


def test_misses_fall_on_the_side_of_the_skew() -> None:
    ours, _ = interval_coverage(20, "skewed", trials=2000, seed=1)
    assert ours.below > 3 * ours.above
    assert ours.coverage + ours.below + ours.above == pytest.approx(1)


def test_bca_misses_skewed_data_more_evenly_than_the_naive_interval() -> None:
    ours, naive = interval_coverage(100, "skewed", trials=300, resamples=300, seed=1)
    assert abs(ours.below - ours.above) < abs(naive.below - naive.above)


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="Known: normal"):
        interval_coverage(10, "square")
