"""Kernel SVM: the machine that weighted, reweighted, adaptive and boosted classifiers are built on.

Idea      A support vector machine with a Gaussian kernel, several classes one against the rest. With tens of thousands
          of samples its kernel matrix is too large: the same machine then works in a finite map of the kernel.
Paper     Cortes, Vapnik. Support-vector networks. Machine Learning 1995.
          Maps: Williams, Seeger. NIPS 2000 (Nystroem); Rahimi, Recht. NIPS 2007 (random Fourier features).
Formula   min_v  |v|^2 / 2 + C sum_i w_i max(0, 1 - y_i (v'phi(x_i) + b))
Defaults  cost = 1 (ours).  gamma = 1 / (F var(x)), var(x) with the sample weights (as scikit-learn's "scale", which has
          none).  kernel_map = "exact".  components = 512 (ours).
Differs   Of a map the intercept is shrunk a little, as scikit-learn's linear solver does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from allograft.shallow.feature_map import KernelMap, MixedKernel, draw_map
from allograft.shallow.hinge import Machine, Solution

__all__ = ["Binary", "Expansion", "KernelSVM", "TransferSVM", "checked"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ROUNDS = 5000
"""Of a map's linear solver at most; scikit-learn warns where they do not suffice."""


class Binary(NamedTuple):
    """One class against the rest: a decision, or several that vote with weights."""

    decisions: tuple[Solution, ...]
    votes: Array | None = None


Solve = Callable[[Machine, Array, Array], Binary]
"""From training points, signs (n,) and weights (n,) to the decision of sign 1 against the rest."""


class Expansion(NamedTuple):
    """A fitted classifier as plain numbers: what a network needs to decide alike.

    Args:
        kind: "anchors" (kernel values) or "fourier" (cosines and sines of frequencies).
        points: (A, F) anchors or frequencies.
        theta: (K,) weights of the kernels of "anchors".
        rates: (K, F) their rates.
        coef: (R, D) of R decisions; D is A, of "fourier" 2A: cosines, then sines.
        intercept: (R,).
        votes: (O, R) what a positive decision counts for each output, or None where decisions are outputs.
    """

    kind: Literal["anchors", "fourier"]
    points: Array
    theta: Array
    rates: Array
    coef: Array
    intercept: Array
    votes: Array | None


class KernelSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A support vector machine with sample weights, exact or in a finite map of its kernel.

    Args:
        cost: C > 0.
        gamma: of exp(-gamma |x - y|^2), > 0, or "scale", 1 / (F var(x)).
        kernel_map: "exact" (memory grows with n^2), or "nystroem" or "fourier" (memory n x components).
        components: features of a map, >= 2.
        kernel: another kernel in place of the Gaussian one; gamma is not used then.
        tolerance: of the solvers.
        random_state: of the map.

    Attributes:
        classes_: (C,) in order.
        map_: the features.
        binaries_: a decision for each class, for two classes one, of the second.

    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> KernelSVM().fit(x, [0, 0, 1, 1]).predict([[-1.5], [3.0]]).tolist()
    [0, 1]
    """

    def __init__(
        self,
        *,
        cost: float = 1.0,
        gamma: float | Literal["scale"] = "scale",
        kernel_map: KernelMap = "exact",
        components: int = 512,
        kernel: MixedKernel | None = None,
        tolerance: float = 1e-3,
        random_state: int = 0,
    ) -> None:
        self.cost = cost
        self.gamma = gamma
        self.kernel_map = kernel_map
        self.components = components
        self.kernel = kernel
        self.tolerance = tolerance
        self.random_state = random_state

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to samples (n, F) of classes (n,) with weights (n,), None for 1.

        Raises:
            ValueError: samples that cannot be used, or fewer than two classes.
        """
        x, codes, weights = checked(self, x, y, sample_weight)
        return self.fit_by(x, codes, weights, lambda machine, signs, w: Binary((machine.solve(signs, w),)))

    def fit_by(self, x: Array, codes: Codes, weights: Array, solve: Solve) -> Self:
        """Fit to checked samples of classes 0, 1, ... by another way of deciding one class against the rest."""
        self.n_features_in_ = x.shape[1]
        if not hasattr(self, "classes_"):
            self.classes_ = np.arange(codes.max() + 1)
        rng = np.random.default_rng(self.random_state)
        self.map_ = draw_map(self.kernel_map, self._kernel(x, weights), x, self.components, rng)
        machine = Machine(self.map_, x, self.cost, ROUNDS, self.tolerance)
        wanted = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        self.binaries_ = tuple(solve(machine, np.where(codes == c, 1.0, -1.0), weights) for c in wanted)
        return self

    def _kernel(self, x: Array, weights: Array) -> MixedKernel:
        if self.kernel is not None:
            return self.kernel
        total = float(weights.sum()) * x.shape[1]
        spread = float(weights @ ((x - weights @ x.sum(axis=1) / total) ** 2).sum(axis=1)) / total if total else 0.0
        gamma = 1 / (x.shape[1] * spread if spread > 0 else 1.0) if self.gamma == "scale" else float(self.gamma)
        return MixedKernel.gaussian(gamma, x.shape[1])

    def decision_function(self, x: Any) -> Array:
        """Return (n,) for two classes, larger is the second; else (n, C), the largest decides."""
        check_is_fitted(self)
        features = self.map_(validate_data(self, x, dtype=np.float64, reset=False))
        found = np.stack([decide(features, each) for each in self.binaries_], axis=1)
        return found[:, 0] if len(self.binaries_) == 1 else found

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """Return the classes (n,)."""
        found = self.decision_function(x)
        return chosen(self.classes_, found)

    def expansion(self) -> Expansion:
        """Return the classifier as numbers; anchors without a coefficient are left out."""
        check_is_fitted(self)
        each = [solution for binary in self.binaries_ for solution in binary.decisions]
        coef, intercept = np.stack([s.coef for s in each]), np.array([s.intercept for s in each])
        points, kernel, votes = self.map_.points, self.map_.kernel, _votes(self.binaries_)
        if self.map_.kind == "fourier":
            assert self.map_.mix is not None, "amplitudes are drawn with the frequencies"
            scaled = coef * np.tile(self.map_.mix, 2)
            return Expansion("fourier", points, kernel.theta, kernel.rates, scaled, intercept, votes)
        over = coef if self.map_.mix is None else coef @ self.map_.mix.T
        used = (over != 0).any(axis=0)
        used[0] |= not used.any()
        return Expansion("anchors", points[used], kernel.theta, kernel.rates, over[:, used], intercept, votes)


def chosen(classes: npt.NDArray[Any], decision: Array) -> npt.NDArray[Any]:
    """Return the classes (n,) that decisions (n,) or (n, C) speak for."""
    index = (decision > 0).astype(np.int64) if decision.ndim == 1 else decision.argmax(axis=1)
    return cast("npt.NDArray[Any]", classes[index])


def decide(features: Array, binary: Binary) -> Array:
    """Return the decision (n,) for features (n, D); of a vote a number in [-1, 1]."""
    found = np.stack([features @ s.coef + s.intercept for s in binary.decisions], axis=1)
    if binary.votes is None:
        return np.asarray(found[:, 0])
    return np.asarray(np.where(found > 0, 1.0, -1.0) @ binary.votes)


def _votes(binaries: tuple[Binary, ...]) -> Array | None:
    if binaries[0].votes is None:
        return None
    out = np.zeros((len(binaries), sum(len(b.decisions) for b in binaries)))
    first = 0
    for row, binary in enumerate(binaries):
        out[row, first : first + len(binary.decisions)] = binary.votes
        first += len(binary.decisions)
    return out


class TransferSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What estimators share that learn from samples of the source and of the target with a `KernelSVM`.

    Args:
        svm: the machine; None takes `KernelSVM()`.

    Attributes:
        classes_: (C,) in order.
        svm_: the fitted machine.
    """

    def __init__(self, svm: KernelSVM | None = None) -> None:
        self.svm = svm

    def fit(self, x: Any, y: Any, sample_weight: Any = None, *, target: Any = None) -> Self:
        """Fit to samples (n, F) of classes (n,).

        Args:
            x: samples of both domains.
            y: their classes.
            sample_weight: (n,) >= 0, None for 1.
            target: (n,) which samples are the target's; None says that all are.

        Raises:
            ValueError: samples that cannot be used, or fewer than two classes.
        """
        x, codes, weights = checked(self, x, y, sample_weight)
        own = np.ones(len(x), dtype=bool) if target is None else np.asarray(target, dtype=bool)
        if own.shape != (len(x),):
            msg = f"target says of each of {len(x)} samples whether it is of the target domain, got shape {own.shape}."
            raise ValueError(msg)
        self._learn(x, codes, weights, own)
        return self

    def _learn(self, x: Array, codes: Codes, weights: Array, own: Mask) -> None:
        """Set `svm_` and what else the estimator has to tell."""
        raise NotImplementedError

    def _machine(self) -> KernelSVM:
        machine: KernelSVM = KernelSVM() if self.svm is None else clone(self.svm)
        machine.classes_ = self.classes_
        return machine

    def decision_function(self, x: Any) -> Array:
        """Return (n,) for two classes, larger is the second; else (n, C), the largest decides."""
        check_is_fitted(self)
        svm: KernelSVM = self.svm_
        return svm.decision_function(validate_data(self, x, dtype=np.float64, reset=False))

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """Return the classes (n,)."""
        found = self.decision_function(x)
        return chosen(self.classes_, found)

    def expansion(self) -> Expansion:
        """Return the classifier as numbers; anchors without a coefficient are left out."""
        check_is_fitted(self)
        svm: KernelSVM = self.svm_
        return svm.expansion()


def checked(estimator: Any, x: Any, y: Any, sample_weight: Any) -> tuple[Array, Codes, Array]:
    """Check samples, set `estimator.classes_`, and return them with classes 0, 1, ... and weights.

    Raises:
        ValueError: samples that cannot be used, or fewer than two classes.
    """
    x, y = validate_data(estimator, x, y, dtype=np.float64)
    check_classification_targets(y)
    estimator.classes_, codes = np.unique(y, return_inverse=True)
    if len(estimator.classes_) < 2:
        msg = f"{type(estimator).__name__} needs samples of two classes, got 1 class: {estimator.classes_[0]!r}."
        raise ValueError(msg)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    return x, codes, cast("Array", weights)
