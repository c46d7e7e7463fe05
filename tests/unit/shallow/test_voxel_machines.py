"""The voxel machines as scikit-learn estimators: its own check of estimators, maps and solvers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from allograft.shallow.adaptive_svm import AdaptiveSVM
from allograft.shallow.feature_map import MixedKernel, draw_map
from allograft.shallow.hinge import box_dual
from allograft.shallow.kernel_learning import KernelLearning
from allograft.shallow.kernel_svm import KernelSVM
from allograft.shallow.reweighted_svm import ReweightedSVM
from allograft.shallow.tradaboost import TrAdaBoost
from allograft.shallow.weighted_svm import WeightedSVM

DRAWS = "anchors, samples and folds are drawn by number, so that copies change the draw"
COPIES = {"check_sample_weight_equivalence_on_dense_data": DRAWS}
OUTLIERS = "without source samples the later rounds of boosting chase outliers, as in the paper"
SHARP = KernelSVM(tolerance=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "known"),
    [
        (SHARP, {}),
        (KernelSVM(kernel_map="nystroem"), COPIES),
        (KernelSVM(kernel_map="fourier"), COPIES),
        (WeightedSVM(SHARP), {}),
        (ReweightedSVM(SHARP), {}),
        (AdaptiveSVM(), COPIES),
        (TrAdaBoost(), {**COPIES, "check_classifiers_train": OUTLIERS}),
        (KernelLearning(SHARP), COPIES),
    ],
    ids=lambda each: type(each).__name__,
)
def test_scikit_learns_check_of_estimators(estimator: object, known: dict[str, str]) -> None:
    check_estimator(estimator, expected_failed_checks=known, on_skip=None)


@pytest.mark.parametrize("kind", ["nystroem", "fourier"])
def test_maps_inner_products_are_the_kernel(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    kernel = MixedKernel(np.array([0.3, 0.0, 0.7]), np.array([[1.0, 0, 0], [9, 9, 9], [0.1, 0.2, 0.4]]))
    features = draw_map(kind, kernel, x, 20_000, np.random.default_rng(1))(x)
    by_hand = 0.3 * np.exp(-((x[:, None, 0] - x[:, 0]) ** 2)) + 0.7 * np.exp(
        -(((x[:, None] - x) ** 2) * np.array([0.1, 0.2, 0.4])).sum(-1)
    )
    assert kernel(x, x) == pytest.approx(by_hand)
    assert features @ features.T == pytest.approx(by_hand, abs=1e-8 if kind == "nystroem" else 0.05)
    few = draw_map(kind, kernel, x, 10, np.random.default_rng(1))(x)
    assert few.shape[1] <= 10


def test_box_dual_keeps_the_box_and_its_conditions() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 5))
    gram, linear, upper = root @ root.T, rng.normal(size=12), rng.uniform(0, 0.5, 12)
    a = box_dual(gram, linear, upper)
    gradient = linear - gram @ a
    assert ((a >= 0) & (a <= upper)).all()
    assert (gradient[a < upper - 1e-9] < 1e-6).all()
    assert (gradient[a > 1e-9] > -1e-6).all()


def test_points_without_weight_take_no_part_and_one_class_alone_is_that_class() -> None:
    x, y = np.array([[-2.0], [-1.0], [1.0], [2.0], [0.0]]), np.array([0, 0, 1, 1, 0])
    weights = np.array([1, 1, 1, 1, 0])
    for kernel_map in ("exact", "fourier"):
        svm = KernelSVM(gamma=1.0, kernel_map=kernel_map, tolerance=1e-9)
        without = svm.fit(x[:4], y[:4]).decision_function(x)
        assert svm.fit(x, y, weights).decision_function(x) == pytest.approx(without, abs=1e-6)
        assert (KernelSVM(kernel_map=kernel_map).fit(x, y, y.astype(float)).predict(x) == 1).all()
