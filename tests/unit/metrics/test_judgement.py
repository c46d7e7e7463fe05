"""From predictions to verdicts, on synthetic predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from allograft.core.errors import DataError
from allograft.metrics.accuracy import Accuracy
from allograft.metrics.auroc import Auroc
from allograft.metrics.balanced_accuracy import BalancedAccuracy
from allograft.metrics.judgement import Arm, judge, take
from allograft.metrics.log_loss import LogLoss
from allograft.stats.delong import delong, delong_evidence
from synthetic_predictions import predictions


def _arm(name: str, *, skill: float, n: int = 60, kind: str = "binary", seeds: int = 1, per_group: int = 1) -> Arm:
    runs = tuple(predictions(kind, n=n, seed=s, skill=skill, per_group=per_group) for s in range(seeds))
    return Arm(name=name, predictions=runs)


def test_a_case_metric_is_compared_over_unit_means() -> None:
    arms = [_arm("good", skill=1.0, per_group=5), _arm("bad", skill=0.0, per_group=5)]
    found = judge(Accuracy(), arms, unit="patient")
    (one,) = found.comparisons
    assert (one.test, one.n_units, one.verdict, one.a) == ("paired t", 12, "better", "good")
    by_patient = [Accuracy().cases(arm.predictions[0]).reshape(12, 5).mean(1) for arm in arms]
    assert one.p == pytest.approx(stats.ttest_rel(*by_patient).pvalue)
    assert found.estimates[0].mean == pytest.approx(by_patient[0].mean())
    assert found.estimates[0].ci.method == "t"


def test_seeds_are_averaged_before_units_are_compared() -> None:
    arm = _arm("a", skill=1.0, seeds=3)
    estimate = judge(LogLoss(), [arm], unit="patient").estimates[0]
    assert estimate.mean == pytest.approx(np.mean([LogLoss().value(p) for p in arm.predictions]))
    assert (estimate.n_units, estimate.seeds) == (60, 3)


def test_auroc_of_single_runs_on_independent_cases_is_delongs() -> None:
    arms = [_arm("a", skill=1.0), replace(_arm("b", skill=0.4), predictions=(predictions("binary", n=60, seed=9),))]
    (one,) = judge(Auroc(), arms, unit="patient").comparisons
    p, q = (arm.predictions[0] for arm in arms)
    by_hand = delong_evidence(delong(p.targets, [p.probabilities[:, 1], q.probabilities[:, 1]], p.groups))
    assert one.test == "DeLong"
    assert one.p == pytest.approx(by_hand.p)


@pytest.mark.parametrize(("n", "per_group", "seeds", "test"), [
    (60, 5, 1, "jackknife t"), (90, 2, 1, "BCa bootstrap"), (45, 1, 2, "BCa bootstrap"),
])  # fmt: skip
def test_auroc_never_uses_delong_where_cases_repeat_or_runs_do(
    monkeypatch: pytest.MonkeyPatch, n: int, per_group: int, seeds: int, test: str
) -> None:
    monkeypatch.setattr("allograft.metrics.judgement.RESAMPLES", 400)
    arms = [_arm("a", skill=1.0, n=n, per_group=per_group, seeds=seeds),
            _arm("b", skill=0.0, n=n, per_group=per_group, seeds=seeds)]  # fmt: skip
    found = judge(Auroc(), arms, unit="patient")
    assert found.comparisons[0].test == test
    assert found.comparisons[0].verdict == "better"
    assert found.estimates[0].ci.low < found.estimates[0].mean < found.estimates[0].ci.high <= 1.0


def test_few_units_never_get_a_verdict() -> None:
    arms = [_arm("good", skill=4.0, per_group=12), _arm("bad", skill=0.0, per_group=12)]
    for metric in (Accuracy(), Auroc(), BalancedAccuracy()):
        (one,) = judge(metric, arms, unit="strip").comparisons
        assert one.verdict == "cannot tell"
        assert "5 strips" in one.sentence()


def test_all_pairs_are_corrected_together() -> None:
    arms = [_arm(str(skill), skill=skill) for skill in (0.0, 0.5, 1.0, 3.0)]
    found = judge(LogLoss(), arms, unit="patient", margin=0.05)
    assert len(found.comparisons) == 6
    assert all(one.family == 6 and one.p_adjusted >= one.p for one in found.comparisons)
    best = {one.a for one in found.comparisons if one.verdict == "better"}
    assert "3.0" in best
    assert "0.0" not in best
    assert all(one.raw_difference < 0 < one.difference for one in found.comparisons if one.verdict == "better")


def test_the_same_predictions_are_equivalent_once_there_are_enough_units() -> None:
    for n, verdict in ((60, "no detectable difference"), (200, "equivalent")):
        arms = [_arm("a", skill=1.0, n=n), _arm("b", skill=1.0, n=n)]
        for metric in (Accuracy(), LogLoss(), Auroc()):
            assert judge(metric, arms, unit="patient").comparisons[0].verdict == verdict


def test_a_perfect_arm_on_few_units_is_not_certain() -> None:
    found = judge(Auroc(), [_arm("perfect", skill=50.0, n=24, per_group=2)], unit="patient").estimates[0]
    assert found.mean == 1.0
    assert found.ci.method == "no spread"
    assert 0.7 < found.ci.low < 0.8
    assert found.ci.high == 1.0


def test_skipped_classes_and_units_without_targets_are_reported() -> None:
    p = predictions("multiclass", n=30)
    targets = np.where(p.targets == 2, -1, p.targets)
    p = replace(p, targets=targets)
    found = judge(Accuracy(), [Arm(name="a", predictions=(p,))], unit="patient")
    assert found.skipped == ("c2",)
    assert len(found.dropped) == 10
    assert found.estimates[0].n_units == 20


def test_arms_on_other_cases_are_refused() -> None:
    one = predictions("binary", n=10)
    order = np.arange(10)[::-1]
    with pytest.raises(DataError, match="arm 'b' predicts other cases"):
        judge(Accuracy(), [Arm(name="a", predictions=(one,)), Arm(name="b", predictions=(take(one, order),))], unit="p")
    with pytest.raises(DataError, match="at least one arm"):
        judge(Accuracy(), [Arm(name="a", predictions=())], unit="p")
