"""Estimators of transferability: worked values, outside judges, invariances, and that each check can say no."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from allograft.analysis.transferability.gbc import bhattacharyya, gbc
from allograft.analysis.transferability.h_score import h_score, shrinkage_share
from allograft.analysis.transferability.knn import knn
from allograft.analysis.transferability.labelled import one_hot
from allograft.analysis.transferability.leep import leep
from allograft.analysis.transferability.linear_probe import linear_probe
from allograft.analysis.transferability.logme import logme, logme_of_targets
from allograft.analysis.transferability.nce import nce
from allograft.core.errors import DataError


def toy(n, d, a, b, shift=0.0, scale=1.0):
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)[None]
    return scale * np.sin(a * i + b * j + 0.1 * i * j) + shift


LABELS = np.arange(30) % 3
GROUPS = np.arange(30) // 3


def features(d=4):
    found = toy(30, d, 0.9, 1.7)
    found[np.arange(30), LABELS] += 1.5
    return found


def probabilities():
    raw = np.abs(toy(30, 5, 1.1, 0.6)) + 0.05
    return raw / raw.sum(1, keepdims=True)


def rotation(d):
    return np.linalg.qr(toy(d, d, 0.37, 2.3))[0]


FEATURE_ESTIMATORS = {
    "logme": logme,
    "h_score": h_score,
    "gbc": gbc,
    "knn": lambda f, y: knn(f, y, np.arange(len(y))),
    "linear_probe": lambda f, y: linear_probe(f, y, np.arange(len(y))),
}
SOURCE_ESTIMATORS = {"leep": leep, "nce": nce}


def test_logme_gives_the_worked_values():
    assert logme(features(), LABELS) == pytest.approx(-0.500792387084, abs=1e-11)
    each = logme_of_targets(features(), one_hot(LABELS))
    assert [one.value for one in each] == pytest.approx([-0.554701358, -0.543588343, -0.404087460], abs=1e-9)
    assert [one.alpha for one in each] == pytest.approx([17.9588, 16.2442, 11.2158], abs=1e-4)
    assert [one.beta for one in each] == pytest.approx([7.92480, 8.24224, 11.96073], abs=1e-5)


def gaussian(f, t, one):
    covariance = np.eye(len(t)) / one.beta + f @ f.T / one.alpha
    return multivariate_normal(np.zeros(len(t)), covariance).logpdf(t) / len(t)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (20, 50), (12, 200)])
def test_logme_is_the_log_density_of_the_gaussian_also_where_features_outnumber_cases(n, d):
    f, t = toy(n, d, 0.9, 1.7), (np.arange(n) % 3 == 0).astype(float)
    f[:, 0] += 0.8 * t
    one = logme_of_targets(f, t[:, None])[0]
    assert one.value == pytest.approx(gaussian(f, t, one), abs=1e-10)


def test_the_formula_without_the_missing_term_is_refuted_by_the_same_judge():
    f, t = toy(20, 50, 0.9, 1.7), (np.arange(20) % 3 == 0).astype(float)
    f[:, 0] += 0.8 * t
    one = logme_of_targets(f, t[:, None])[0]
    k = 20
    released = one.value + (50 - k) / 2 * np.log(one.alpha) / 20  # (D - k) ln alpha left out
    assert abs(released - gaussian(f, t, one)) > 0.01
    assert one.value == pytest.approx(gaussian(f, t, one), abs=1e-10)


def test_logme_is_the_largest_evidence_of_its_family():
    f, t = features(), one_hot(LABELS)[:, 0]
    one = logme_of_targets(f, t[:, None])[0]
    for alpha, beta in [(one.alpha * 1.05, one.beta), (one.alpha, one.beta * 1.05), (one.alpha / 1.05, one.beta)]:
        assert gaussian(f, t, one._replace(alpha=alpha, beta=beta)) < one.value


def test_logme_stays_finite_where_features_say_nothing():
    f, t = np.ones((10, 3)) * 1e-9, np.array([1.0, -1.0] * 5)  # the target is orthogonal to every feature
    one = logme_of_targets(f, t[:, None])[0]
    assert np.isfinite(one).all()
    assert one.value == pytest.approx(-0.5 * np.log(2 * np.pi) - 0.5, abs=1e-6)  # noise alone
    assert np.isfinite(logme(np.zeros((10, 3)), np.arange(10) % 2))


def test_logme_takes_several_labels_and_values_and_refuses_empty_targets():
    assert len(logme_of_targets(features(), toy(30, 2, 1, 2))) == 2
    with pytest.raises(DataError, match="0 for every case"):
        logme_of_targets(features(), np.zeros((30, 1)))


def test_leep_nce_and_h_score_give_the_worked_values():
    p = probabilities()
    assert np.bincount(p.argmax(1)).tolist() == [6, 4, 6, 3, 11]
    assert leep(p, LABELS) == pytest.approx(-1.0935723441, abs=1e-10)
    assert nce(p, LABELS) == pytest.approx(-0.9867821133, abs=1e-10)
    assert h_score(features(), LABELS) == pytest.approx(1.4187587676, abs=1e-10)


def test_leep_of_one_hot_probabilities_is_nce():
    hard = np.eye(5)[probabilities().argmax(1)]
    assert leep(hard, LABELS) == pytest.approx(nce(hard, LABELS), abs=1e-12)
    assert leep(probabilities(), LABELS) != pytest.approx(nce(probabilities(), LABELS), abs=1e-3)


def test_leep_is_at_least_nce_and_the_mean_log_probability_of_the_likeliest_class():
    p = probabilities()
    assert leep(p, LABELS) >= nce(p, LABELS) + np.log(p.max(1)).mean()


def test_source_probabilities_that_are_none_are_refused():
    with pytest.raises(DataError, match="add up to 1"):
        leep(probabilities() * 2, LABELS)


def test_gbc_gives_the_worked_distance():
    one, two = (np.zeros(2), np.array([1.0, 2.0])), (np.ones(2), np.array([2.0, 1.0]))
    distance = bhattacharyya(*one, *two)
    assert distance == pytest.approx(0.225558184, abs=1e-9)
    assert np.exp(-distance) == pytest.approx(0.798070624, abs=1e-9)


def test_gbc_is_bounded_by_full_and_by_no_overlap():
    far = features() + 1000 * one_hot(LABELS) @ np.eye(3, 4)
    assert gbc(far, LABELS) == pytest.approx(0, abs=1e-6)
    twice = np.concatenate([features(), features()])
    assert gbc(twice, np.repeat([0, 1], 30)) == pytest.approx(-1, abs=1e-9)  # the same cloud twice


@pytest.mark.parametrize("name", FEATURE_ESTIMATORS)
def test_rotated_features_give_the_same_estimate(name):
    value = FEATURE_ESTIMATORS[name]
    for d in (4, 60):
        # the noise parts equal variances, whose principal directions would be anybody's guess
        f = features(d) + 0.5 * np.random.default_rng(d).normal(size=(30, d))
        assert value(f @ rotation(d), LABELS) == pytest.approx(value(f, LABELS), abs=1e-6)


@pytest.mark.parametrize("name", FEATURE_ESTIMATORS | SOURCE_ESTIMATORS)
def test_order_of_cases_and_names_of_classes_do_not_matter(name):
    value = (FEATURE_ESTIMATORS | SOURCE_ESTIMATORS)[name]
    f = features() if name in FEATURE_ESTIMATORS else probabilities()
    order = np.argsort(np.sin(np.arange(30) * 7.0))
    expected = value(f, LABELS)
    assert value(f, np.array([7, 3, 5])[LABELS]) == pytest.approx(expected, abs=1e-9)
    if name != "linear_probe":  # its folds are drawn by position
        assert value(f[order], LABELS[order]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", FEATURE_ESTIMATORS | SOURCE_ESTIMATORS)
def test_shuffled_labels_score_lower_on_average(name):
    value = (FEATURE_ESTIMATORS | SOURCE_ESTIMATORS)[name]
    rng = np.random.default_rng(0)
    f = features() if name in FEATURE_ESTIMATORS else 0.2 * probabilities() + 0.8 * one_hot(LABELS) @ np.eye(3, 5)
    shuffled = [value(f, rng.permutation(LABELS)) for _ in range(8)]
    assert np.mean(shuffled) < value(f, LABELS)


def test_h_score_is_invariant_to_invertible_maps_where_the_covariance_has_full_rank():
    mixed = features() @ (toy(4, 4, 0.3, 0.9) + 2 * np.eye(4)) + 3
    assert h_score(mixed, LABELS) == pytest.approx(h_score(features(), LABELS), abs=1e-9)
    assert h_score(mixed, LABELS, shrinkage=0.5) != pytest.approx(h_score(features(), LABELS, shrinkage=0.5), abs=1e-3)


def test_h_score_without_shrinkage_says_nothing_where_features_outnumber_cases():
    useless = np.random.default_rng(0).normal(size=(30, 100))
    assert h_score(useless, LABELS, shrinkage=0.0) == pytest.approx(2, abs=1e-9)  # classes less one, whatever
    useful = useless + 3 * one_hot(LABELS) @ np.eye(3, 100)
    assert h_score(useless, LABELS) < h_score(useful, LABELS) <= 2


@pytest.mark.parametrize(("n", "d"), [(30, 4), (20, 60), (200, 10)])
def test_the_share_of_shrinkage_is_that_of_scikit_learn(n, d):
    f = np.random.default_rng(n).normal(size=(n, d)) * np.linspace(1, 2, d)
    assert shrinkage_share(f) == pytest.approx(ledoit_wolf_shrinkage(f), abs=1e-10)


def test_knn_is_scikit_learns_with_one_group_left_out_at_a_time():
    judge = KNeighborsClassifier(1, metric="cosine")
    guess = cross_val_predict(judge, features(), LABELS, groups=GROUPS, cv=LeaveOneGroupOut())
    recall = np.mean([(guess[c == LABELS] == c).mean() for c in range(3)])
    assert knn(features(), LABELS, GROUPS, k=1) == pytest.approx(recall)


def twins():
    """Return features that tell patients apart and nothing else, two scans each."""
    rng = np.random.default_rng(1)
    patients = rng.normal(size=(40, 50))
    f = np.repeat(patients, 2, axis=0) + 1e-3 * rng.normal(size=(80, 50))
    return f, np.repeat(rng.permutation(np.arange(40) % 2), 2), np.repeat(np.arange(40), 2)


@pytest.mark.parametrize("value", [lambda f, y, g: knn(f, y, g, k=1), linear_probe], ids=["knn", "linear_probe"])
def test_twins_of_a_patient_do_not_help(value):
    f, labels, groups = twins()
    assert value(f, labels, groups) < 0.75
    assert value(f, labels, np.arange(80)) > 0.9  # the leak that groups prevent


def test_probes_need_a_second_group():
    with pytest.raises(DataError, match="at least 2 groups"):
        knn(features(), LABELS, np.zeros(30))
    with pytest.raises(DataError, match="one group only"):
        linear_probe(features(), LABELS, LABELS)


@pytest.mark.parametrize("name", FEATURE_ESTIMATORS)
def test_what_cannot_be_judged_is_refused(name):
    value = FEATURE_ESTIMATORS[name]
    with pytest.raises(DataError, match="same label"):
        value(features(), np.zeros(30))
    with pytest.raises(DataError, match="not finite"):
        value(np.where(features() > 1, np.nan, features()), LABELS)
    with pytest.raises(DataError, match="label for each"):
        value(features(), LABELS[:5])
