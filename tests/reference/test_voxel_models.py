"""Voxel models: PlainSVM, WSVM, RSVM, ASVM, Boosting (TrAdaBoost) and LearnedKernel, by the machines they set up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from allograft.catalog import VOXEL_MODELS
from allograft.core.errors import DataError
from allograft.procedures.voxel_models.voxel_model import VoxelSamples
from allograft.shallow.adaptive_svm import AdaptiveSVM
from allograft.shallow.kernel_learning import KernelLearning, candidate_kernels
from allograft.shallow.kernel_svm import KernelSVM
from allograft.shallow.reweighted_svm import ReweightedSVM
from allograft.shallow.tradaboost import TrAdaBoost, boosting_step
from allograft.shallow.weighted_svm import WeightedSVM

EXACT = KernelSVM(gamma=0.7, cost=2.0, tolerance=1e-9)


def two_moons(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return synthetic samples (n, 2) that a line cannot separate, and their classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return x, (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(np.int64)


def synthetic_samples(**fields: object) -> VoxelSamples:
    x, y = two_moons()
    own = np.arange(len(x)) % 3 == 0
    images, target = np.arange(len(x)) % 4, two_moons(seed=1)[0]
    seen = tuple(x[images == i] for i in range(4))
    return VoxelSamples(x, y, images, own, np.ones(len(x)), seen, target)._replace(**fields)


def test_plain_machine_is_scikit_learns() -> None:
    x, y = two_moons()
    theirs = SVC(C=2.0, gamma=0.7, tol=1e-9).fit(x, y)
    assert np.allclose(EXACT.fit(x, y).decision_function(x), theirs.decision_function(x), atol=1e-6)
    three = np.digitize(x[:, 0] + x[:, 1], [-0.7, 0.7])
    many = OneVsRestClassifier(SVC(C=2.0, gamma=0.7, tol=1e-9)).fit(x, three)
    assert np.allclose(EXACT.fit(x, three).decision_function(x), many.decision_function(x), atol=1e-6)
    assert (EXACT.predict(x) == many.predict(x)).all()


@pytest.mark.parametrize("kernel_map", ["nystroem", "fourier"])
def test_maps_come_near_the_exact_machine(kernel_map: str) -> None:
    x, y = two_moons(200)
    exact = KernelSVM(gamma=0.7).fit(x, y).decision_function(x)
    near = KernelSVM(gamma=0.7, kernel_map=kernel_map, components=2000, tolerance=1e-6).fit(x, y)
    far = KernelSVM(gamma=0.7, kernel_map=kernel_map, components=4).fit(x, y)
    assert np.abs(near.decision_function(x) - exact).mean() < 0.05
    assert np.abs(far.decision_function(x) - exact).mean() > 0.3


def test_wsvm_is_scikit_learns_with_sample_weights() -> None:
    x, y = two_moons()
    own = np.arange(len(x)) < 20
    ours = WeightedSVM(EXACT, source_weight=0.1).fit(x, y, target=own)
    theirs = SVC(C=2.0, gamma=0.7, tol=1e-9).fit(x, y, sample_weight=np.where(own, 1.0, 0.1))
    assert np.allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)


def test_wsvm_weight_two_is_a_copy_and_weight_one_is_the_plain_machine() -> None:
    x, y = two_moons()
    own = np.arange(len(x)) < 20
    plain = KernelSVM(gamma=0.7, tolerance=1e-9)
    twice = plain.fit(np.concatenate([x, x[:20]]), np.concatenate([y, y[:20]])).decision_function(x)
    weighted = plain.fit(x, y, np.where(own, 2.0, 1.0)).decision_function(x)
    assert np.allclose(weighted, twice, atol=1e-5)
    same = WeightedSVM(plain, source_weight=1.0).fit(x, y, target=own).decision_function(x)
    assert np.allclose(same, plain.fit(x, y).decision_function(x), atol=1e-6)
    assert not np.allclose(weighted, same, atol=1e-2)


def test_wsvm_gives_a_misleading_source_little_weight() -> None:
    x, y = two_moons(120)
    own = np.arange(len(x)) < 60
    assert WeightedSVM(EXACT).fit(x, np.where(own, y, 1 - y), target=own).source_weight_ <= 0.1
    assert WeightedSVM(EXACT).fit(x, y, target=own).source_weight_ >= 0.3


def test_rsvm_lets_go_of_a_mislabelled_source_sample_and_of_no_other() -> None:
    x = np.concatenate([np.linspace(-2, -1, 10), np.linspace(1, 2, 10), [-1.5]])[:, None]
    y = np.repeat([0, 1, 1], [10, 10, 1])
    own = np.arange(len(x)) % 2 == 1
    model = ReweightedSVM(KernelSVM(gamma=1.0)).fit(x, y, target=own)
    assert model.weights_[-1, 0] == 0
    assert (model.weights_[:-1] == 1).all()
    clean = ReweightedSVM(EXACT).fit(x[:-1], y[:-1], target=own[:-1])
    assert clean.rounds_.tolist() == [1]
    assert np.allclose(clean.decision_function(x), EXACT.fit(x[:-1], y[:-1]).decision_function(x), atol=1e-6)
    protected = ReweightedSVM(KernelSVM(gamma=1.0)).fit(x, y)  # all are the target's
    assert (protected.weights_ == 1).all()


def test_asvm_dual_is_slsqps_optimum() -> None:
    x, y = two_moons(40)
    own = np.arange(len(x)) < 8
    model = AdaptiveSVM(EXACT).fit(x, y, target=own)
    source = SVC(C=2.0, gamma=0.7, tol=1e-9).fit(x[~own], y[~own])
    signs, known = np.where(y[own] == 1, 1.0, -1.0), source.decision_function(x[own])
    gram = np.exp(-0.7 * ((x[own][:, None] - x[own]) ** 2).sum(-1)) * np.outer(signs, signs)
    linear = 1 - signs * known
    found = minimize(
        lambda a: a @ gram @ a / 2 - linear @ a,
        np.ones(8),
        jac=lambda a: gram @ a - linear,
        bounds=[(0, 2.0)] * 8,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert np.allclose(model.dual_[:, 0], found.x * signs, atol=1e-4)
    assert found.x.max() > 0.1  # there was something to correct
    kernel = np.exp(-0.7 * ((x[:, None] - x[own]) ** 2).sum(-1))
    expected = source.decision_function(x) + kernel @ (found.x * signs)
    assert np.allclose(model.decision_function(x), expected, atol=1e-4)


@pytest.mark.parametrize("kernel_map", ["exact", "nystroem", "fourier"])
def test_asvm_without_target_samples_is_the_source_machine(kernel_map: str) -> None:
    x, y = two_moons()
    svm = KernelSVM(gamma=0.7, kernel_map=kernel_map)
    found = AdaptiveSVM(svm).fit(x, y, target=np.zeros(len(x), dtype=bool)).decision_function(x)
    assert np.array_equal(found, svm.fit(x, y).decision_function(x))


def test_asvm_corrects_a_source_that_is_wrong() -> None:
    x, y = two_moons(120)
    own = np.arange(len(x)) < 60
    turned = np.where(own, y, 1 - y)
    before = KernelSVM(gamma=0.7).fit(x[~own], turned[~own]).score(x[own], y[own])
    assert before < 0.3
    assert AdaptiveSVM(KernelSVM(gamma=0.7), correction=100).fit(x, turned, target=own).score(x[own], y[own]) > 0.85


def test_tradaboost_step_is_the_worked_one_and_not_the_packages() -> None:
    weights, wrong = np.array([0.2, 0.2, 0.2, 0.1, 0.3]), np.array([1, 0, 1, 1, 0], dtype=bool)
    moved, error, beta_t = boosting_step(weights, wrong, np.array([0, 0, 0, 1, 1], dtype=bool), rounds=10)
    assert error == pytest.approx(0.25)
    assert beta_t == pytest.approx(1 / 3)
    assert beta_t != pytest.approx(0.25 / 1.75)
    assert moved == pytest.approx([0.126984, 0.186508, 0.126984, 0.279762, 0.279762], abs=1e-6)
    hundred = np.arange(101) == 100
    after, _, _ = boosting_step(np.full(101, 1 / 101), np.arange(101) == 0, hundred, rounds=10)
    assert after[0] / after[1] == pytest.approx(0.510280837)


def test_tradaboost_votes_as_the_products_say_and_learns_the_target() -> None:
    x, y = two_moons(150)
    own = np.arange(len(x)) < 90
    turned = np.where(own, y, 1 - y)
    model = TrAdaBoost(KernelSVM(gamma=0.7, cost=0.3), most=6).fit(x, turned, target=own)
    (binary,), (errors,) = model.svm_.binaries_, model.errors_
    assert 0 < errors[0] < 0.5
    betas = [max(1e-6, e / (1 - e)) if e < 0.5 else 1 for e in errors]
    features = model.svm_.map_(x)
    votes = np.stack([features @ s.coef + s.intercept > 0 for s in binary.decisions], axis=1)
    kept = np.array(betas[len(betas) // 2 :])
    left, right = np.prod(kept ** -votes.astype(float), axis=1), np.prod(kept**-0.5)
    assert (model.predict(x) == (left > right)).all()
    assert model.score(x[own], y[own]) > KernelSVM(gamma=0.7, cost=0.3).fit(x, turned).score(x[own], y[own]) + 0.1


def toy(n: int, d: int, a: float, b: float, shift: float = 0.0) -> np.ndarray:
    i, j = np.arange(n)[:, None] + 1, np.arange(d)[None] + 1
    return np.sin(a * i + b * j + 0.1 * i * j) + shift


def test_learned_kernel_joint_objective_never_falls_and_its_weights_are_slsqps() -> None:
    x = np.concatenate([toy(30, 2, 1 + 0.3 * k, 0.8, 0.8 * k) for k in range(3)])
    y, images, target = (x[:, 0] > x[:, 1]).astype(int), np.repeat(range(3), 30), toy(40, 2, 0.6, 1.1, 0.9)
    model = KernelLearning(EXACT, rounds=10).fit(x, y, images=images, target=target)
    assert all(b >= a - 1e-9 for a, b in zip(model.values_, model.values_[1:], strict=False))
    kernel = model.svm_.kernel

    def mmd(w: np.ndarray) -> float:
        each = w[images] / 30
        return each @ kernel(x, x) @ each - 2 * each @ kernel(x, target).mean(axis=1)

    found = minimize(
        mmd,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-13},
    )
    assert mmd(model.weights_) == pytest.approx(found.fun, abs=1e-5)
    assert model.theta_.sum() == pytest.approx(1)
    one = KernelLearning(EXACT, mode="sequential").fit(x, y, images=images, target=target)
    assert model.values_[-1] >= one.values_[-1] - 1e-9


def test_learned_kernel_chooses_the_features_that_tell_classes_apart() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = KernelLearning(EXACT, groups=((0, 1), (2, 3)), factors=(1.0,)).fit(x, y)
    assert model.theta_[1] > 0.9
    assert model.weights_ == pytest.approx([1.0])
    assert candidate_kernels(x, (1.0,), ((0, 1),))[1, 2:].tolist() == [0, 0]


@pytest.mark.parametrize("name", VOXEL_MODELS)
def test_every_model_fits_and_says_which_classes_it_knows(name: str) -> None:
    found = VOXEL_MODELS[name]().fit(synthetic_samples(), KernelSVM(kernel_map="fourier", components=64))
    assert found.classes.tolist() == [0, 1]
    assert np.isfinite(found.expansion.coef).all()
    assert found.expansion.coef.any()


@pytest.mark.parametrize("name", ["wsvm", "rsvm", "asvm", "tradaboost"])
@pytest.mark.parametrize(("own", "lacks"), [(True, "source has none"), (False, "target has none")])
def test_transfer_models_refuse_one_domain_alone(name: str, own: bool, lacks: str) -> None:
    alone = synthetic_samples(own=np.full(60, own))
    with pytest.raises(DataError, match=lacks):
        VOXEL_MODELS[name]().fit(alone, KernelSVM())
