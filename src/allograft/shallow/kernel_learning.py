"""Kernel learning: a sum of kernels under which training and target voxels mix and classes stay apart.

Idea      Which features, and how wide a kernel, make the target look like the (weighted) training images while classes
          can still be told apart? Learn the weights of several kernels: after the image weights, or with them.
Paper     van Opbroek, Achterberg, Vernooij, de Bruijne. Transfer learning for image segmentation by combining image
          weighting and kernel learning. IEEE Transactions on Medical Imaging 2019.  doi:10.1109/TMI.2018.2859478
Formula   k = sum_d theta_d k_d,  theta >= 0, sum theta = 1;
          max_theta  <Kc, Tc> / (|Kc| |Tc|) - a MMD^2(theta, w),   Tc the centred matrix of equal classes;
          min_w MMD^2(theta, w);  "joint" alternates the two, "sequential" takes w under equal theta, then theta
Defaults  mode = "joint" (ours).  trade = 1, a (ours).  factors = (0.25, 1, 4) of 1 / (F var(x)) (ours).  most = 600
          samples of a kernel matrix (ours).  rounds = 20 (ours).
Differs   The paper's exact objective was not open to us: alignment minus a times MMD^2 is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from allograft.shallow.feature_map import MixedKernel
from allograft.shallow.image_density import some_rows
from allograft.shallow.image_weighting import mmd_weights
from allograft.shallow.kernel_svm import Array, Codes, KernelSVM, TransferSVM, checked

__all__ = ["KernelLearning", "aligned", "candidate_kernels", "learn_theta"]


class Pairs(NamedTuple):
    """What theta and w are learnt from.

    Args:
        images: (K, M, M) mean of each kernel between the voxels of two images.
        target: (K, M) between an image and the target.
        own: (K,) inside the target.
        align: (K,) <Kc_d, Tc> / |Tc|.
        inner: (K, K) <Kc_d, Kc_e>.
    """

    images: Array
    target: Array
    own: Array
    align: Array
    inner: Array

    def mmd(self, w: Array) -> Array:
        """Return (K,), the squared distance of the weighted images' mean from the target's under each kernel."""
        if not len(self.own):
            return np.zeros(len(self.align))
        return np.asarray(w @ self.images @ w - 2 * self.target @ w + self.own)

    def value(self, theta: Array, w: Array, trade: float) -> float:
        """Return the objective, larger is better."""
        return aligned(theta, self.align, self.inner) - trade * float(theta @ self.mmd(w))


class KernelLearning(TransferSVM):
    """A kernel SVM with a learnt kernel and image weights.

    Args:
        svm: the machine; its own kernel and gamma are replaced.
        mode: "sequential" or "joint".
        trade: a, what a unit of MMD^2 costs in alignment, >= 0.
        factors: widths of the kernels, times 1 / (F var(x)).
        groups: features of a kernel each, beside those on all; empty for none.
        most: samples of each image, of the target and of all classes that kernel matrices are made of.
        rounds: of "joint" at most.
        random_state: of the drawn samples.

    Attributes:
        theta_: (K,), one for each group (all features first) and factor.
        weights_: (M,) of the images; equal without a target.
        values_: the objective after each round; "joint" never falls.
    """

    def __init__(  # noqa: PLR0913 - an estimator's settings are its arguments
        self,
        svm: KernelSVM | None = None,
        *,
        mode: Literal["sequential", "joint"] = "joint",
        trade: float = 1.0,
        factors: tuple[float, ...] = (0.25, 1.0, 4.0),
        groups: tuple[tuple[int, ...], ...] = (),
        most: int = 600,
        rounds: int = 20,
        random_state: int = 0,
    ) -> None:
        super().__init__(svm)
        self.mode = mode
        self.trade = trade
        self.factors = factors
        self.groups = groups
        self.most = most
        self.rounds = rounds
        self.random_state = random_state

    def fit(  # what it learns from besides samples are images, not single samples
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        images: Any = None,
        voxels: Sequence[Array] | None = None,
        target: Any = None,
    ) -> Self:
        """Fit to samples (n, F) of classes (n,).

        Args:
            x: training samples.
            y: their classes.
            sample_weight: (n,) >= 0, times which the image weights count; None for 1.
            images: (n,) which image each is of, numbers from 0 where `voxels` are given; None for one.
            voxels: of each image, in the order of their numbers, the samples (k, F) that stand for it in MMD; None
                takes its training samples, which say what it looks like only where classes were not balanced.
            target: (m, F) unlabelled samples of the target; None leaves MMD out.
        """
        x, codes, weights = checked(self, x, y, sample_weight)
        which = np.zeros(len(x), dtype=np.int64) if images is None else np.asarray(images)
        if voxels is None:
            which = np.unique(which, return_inverse=True)[1]
        rates = candidate_kernels(x, self.factors, self.groups)
        groups = [x[which == m] for m in range(which.max() + 1)] if voxels is None else voxels
        aims = [] if target is None else [*groups, np.asarray(target, dtype=np.float64)]
        pairs = self._pairs(x, codes, aims, rates)
        self.theta_, self.weights_, self.values_ = self._learnt(pairs, len(groups))
        each = self.weights_[which] / np.bincount(which)[which]
        machine = self._machine()
        machine.kernel = MixedKernel(self.theta_, rates)
        self.svm_ = machine.fit(x, codes, weights * each * len(x))
        return self

    def _learnt(self, pairs: Pairs, images: int) -> tuple[Array, Array, tuple[float, ...]]:
        count = len(pairs.align)
        theta, w = np.full(count, 1 / count), np.full(images, 1 / images)
        values = list[float]()
        for _ in range(self.rounds if self.mode == "joint" and len(pairs.own) else 1):
            if len(pairs.own):
                w = mmd_weights(np.tensordot(theta, pairs.images, 1), theta @ pairs.target)
            theta = learn_theta(pairs.align, pairs.inner, self.trade * pairs.mmd(w), theta)
            values.append(pairs.value(theta, w, self.trade))
            if len(values) > 1 and values[-1] - values[-2] < 1e-9:
                break
        return theta, w, tuple(values)

    def _pairs(self, x: Array, codes: Codes, aims: Sequence[Array], rates: Array) -> Pairs:
        rng = np.random.default_rng(self.random_state)
        kernels = MixedKernel(np.ones(len(rates)), rates)
        rows = _balanced(codes, self.most, rng)
        same = (codes[rows][:, None] == codes[rows]).astype(np.float64)
        wanted = _centred(same)
        centred = np.stack([_centred(k) for k in kernels.parts(x[rows], x[rows])])
        align = np.tensordot(centred, wanted, 2) / np.linalg.norm(wanted)
        inner = np.einsum("aij,bij->ab", centred, centred)
        if not aims:
            none = np.zeros((0, 0))
            return Pairs(none, none, np.zeros(0), align, inner)
        *drawn, aim = [some_rows(a, self.most, rng) for a in aims]
        between = np.array([[kernels.parts(a, b).mean(axis=(1, 2)) for b in drawn] for a in drawn])
        towards = np.array([kernels.parts(a, aim).mean(axis=(1, 2)) for a in drawn])
        return Pairs(np.moveaxis(between, -1, 0), towards.T, kernels.parts(aim, aim).mean(axis=(1, 2)), align, inner)


def candidate_kernels(x: Array, factors: Sequence[float], groups: Sequence[Sequence[int]]) -> Array:
    """Return the rates (K, F) of kernels on all features, then on each group, of every width."""
    out = []
    for group in (range(x.shape[1]), *groups):
        columns = list(group)
        spread = float(x[:, columns].var())
        for factor in factors:
            rate = np.zeros(x.shape[1])
            rate[columns] = factor / (len(columns) * spread if spread > 0 else 1.0)
            out.append(rate)
    return np.stack(out)


def aligned(theta: Array, align: Array, inner: Array) -> float:
    """Return the centred alignment of sum_d theta_d k_d with the classes, in [-1, 1]."""
    return float(theta @ align / np.sqrt(max(float(theta @ inner @ theta), 1e-300)))


def learn_theta(align: Array, inner: Array, cost: Array, start: Array) -> Array:
    """Return the theta on the simplex that maximises alignment minus cost, from `start`, equal and single kernels.

    Args:
        align: (K,) <Kc_d, Tc> / |Tc|.
        inner: (K, K) <Kc_d, Kc_e>.
        cost: (K,) what each kernel costs.
        start: (K,) never left for a worse one.
    """
    count = len(align)

    def negative(theta: Array) -> tuple[float, Array]:
        norm = np.sqrt(max(float(theta @ inner @ theta), 1e-300))
        gain = float(theta @ align)
        return float(theta @ cost) - gain / norm, cost - align / norm + gain * (inner @ theta) / norm**3

    best, least = start, negative(start)[0]
    for begin in (start, np.full(count, 1 / count), *np.eye(count)):
        found = minimize(
            negative,
            begin,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda t: t.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-12, "maxiter": 200},
        )
        theta = np.maximum(found.x, 0)
        theta = theta / theta.sum() if theta.sum() > 0 else start
        value = negative(theta)[0]
        if value < least:
            best, least = theta, value
    return best


def _balanced(codes: Codes, most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return at most `most` rows, of every class about as many."""
    kinds = np.unique(codes)
    each = max(2, most // len(kinds))
    return np.sort(np.concatenate([some_rows(np.flatnonzero(codes == k), each, rng) for k in kinds]))


def _centred(matrix: Array) -> Array:
    return np.asarray(matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean())
