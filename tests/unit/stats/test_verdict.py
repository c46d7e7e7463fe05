from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from allograft.stats.evidence import from_t
from allograft.stats.verdict import Arms, Comparison, compare, settle

NAMES = Arms(a="frozen", b="scratch", metric="balanced accuracy")


def _found(difference: float, se: float, n: int = 12, margin: float = 0.02, arms: Arms = NAMES) -> Comparison:
    return compare(from_t(difference, se, n - 1, n_units=n, test="paired t"), arms=arms, unit="strip", margin=margin)


@pytest.mark.parametrize(
    ("difference", "se", "n", "verdict"),
    [
        (0.031, 0.008, 12, "better"),
        (-0.031, 0.008, 12, "better"),
        (0.001, 0.002, 12, "equivalent"),
        (0.010, 0.020, 12, "no detectable difference"),
        (0.031, 0.001, 5, "cannot tell"),
        (0.031, float("nan"), 12, "cannot tell"),
        (0.031, 0.0, 12, "cannot tell"),
    ],
)
def test_four_verdicts(difference, se, n, verdict) -> None:
    assert _found(difference, se, n).verdict == verdict


def test_equivalence_is_two_one_sided_tests() -> None:
    for difference, se in ((0.004, 0.008), (0.005, 0.009), (-0.006, 0.0075), (0.0, 0.0112)):
        one_sided = [stats.t.sf((0.02 + side * difference) / se, 11) for side in (1, -1)]
        assert _found(difference, se).within_margin == (max(one_sided) < 0.05)


def test_a_real_but_small_difference_is_better_and_the_sentence_says_how_small() -> None:
    found = _found(0.005, 0.001)
    assert found.verdict == "better"
    assert found.within_margin
    assert "real but smaller than the margin of 0.020" in found.sentence()


def test_sentence_names_difference_interval_test_unit_and_p() -> None:
    found = settle([_found(0.031, 0.00863), _found(0.001, 0.02)])[0]
    low, high = 0.031 - stats.t.ppf(0.975, 11) * 0.00863, 0.031 + stats.t.ppf(0.975, 11) * 0.00863
    p = 2 * 2 * stats.t.sf(0.031 / 0.00863, 11)
    assert found.sentence() == (
        "frozen is better than scratch by 0.031 balanced accuracy "
        f"(95% CI {low:.3f} to {high:.3f}; paired t over 12 strips, Holm p = {p:.3f})."
    )


def test_the_better_arm_comes_first_once_settled() -> None:
    (found,) = settle([_found(-0.031, 0.008)])
    assert (found.a, found.b) == ("scratch", "frozen")
    assert found.difference == pytest.approx(0.031)
    assert found.raw_difference == pytest.approx(0.031)
    assert found.ci[0] > 0
    assert found.sentence().startswith("scratch is better than frozen by 0.031")


def test_holm_can_take_a_verdict_back() -> None:
    weak = _found(0.020, 0.008)  # p about 0.03 alone
    assert weak.verdict == "better"
    family = settle([weak, *[_found(0.0005, 0.02) for _ in range(5)]])
    assert family[0].verdict == "no detectable difference"
    assert family[0].p == weak.p
    assert family[0].p_adjusted == pytest.approx(6 * weak.p)


def test_comparisons_that_cannot_be_told_do_not_cost_the_others() -> None:
    weak = _found(0.020, 0.008)
    family = settle([weak, _found(0.03, 0.001, n=5), _found(0.03, float("nan"))])
    assert family[0].verdict == "better"
    assert family[0].family == 1
    assert [math.isnan(one.p_adjusted) for one in family] == [False, True, True]


def test_no_difference_says_how_many_units_would_show_one() -> None:
    found = _found(0.004, 0.02)
    assert found.units_needed is not None
    assert found.units_needed > 12
    assert f"about {found.units_needed} strips would be needed" in found.sentence()


def test_cannot_tell_says_why() -> None:
    assert "there are 5 strips and at least 6 independent ones are needed" in _found(0.3, 0.001, n=5).sentence()
    assert "independent ones" not in _found(0.3, 0.0).sentence()
    assert "standard error cannot be estimated" in _found(0.3, 0.0).sentence()


def test_without_a_margin_nothing_is_equivalent() -> None:
    assert _found(0.0, 1e-9, margin=float("nan")).verdict == "no detectable difference"


@pytest.mark.parametrize("margin", [0.0, -0.1])
def test_refuses_a_margin_that_is_not_positive(margin) -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        _found(0.1, 0.1, margin=margin)


def test_row_is_json_with_null_for_what_does_not_exist() -> None:
    row = json.loads(json.dumps(_found(0.3, float("nan")).as_row(), allow_nan=False))
    assert row["p"] is None
    assert row["ci"] == [None, None]
    needed = {"a", "b", "difference", "ci", "test", "unit", "n_units", "p", "p_adjusted", "verdict"}
    assert needed <= row.keys()


def test_units_are_written_in_the_plural() -> None:
    one = compare(from_t(0.0, 0.1, 9, n_units=10, test="t"), arms=NAMES, unit="biopsy", margin=0.02)
    assert "10 biopsies" in one.sentence()
    assert (
        "10 arrays"
        in compare(from_t(0.0, 0.1, 9, n_units=10, test="t"), arms=NAMES, unit="array", margin=0.02).sentence()
    )


def test_a_more_certain_difference_is_never_a_weaker_verdict() -> None:
    for gap in np.linspace(0.0, 0.1, 21):
        wide, narrow = _found(float(gap), 0.02), _found(float(gap), 0.01)
        if wide.verdict == "better":
            assert narrow.verdict == "better"
