"""Image weights: worked values of the reference, SLSQP, limits, and random features against exact blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from allograft.core.errors import DataError
from allograft.shallow.feature_map import MixedKernel
from allograft.shallow.image_density import chunks, histograms
from allograft.shallow.image_weighting import ImageWeighting, divergence_weights, mean_embeddings, mmd_weights
from allograft.shallow.simplex_qp import newton_on_simplex, simplex_qp

P = np.array([[0.7, 0.2, 0.1, 0], [0.1, 0.6, 0.2, 0.1], [0, 0.1, 0.3, 0.6]]) + 1e-3
P /= P.sum(axis=1, keepdims=True)
Q = np.array([0.15, 0.35, 0.25, 0.25])
CRITERIA = ("kl", "bhattacharyya", "euclid", "mmd")


def toy(n: int, d: int, a: float, b: float, shift: float = 0.0) -> np.ndarray:
    i, j = np.arange(n)[:, None] + 1, np.arange(d)[None] + 1
    return np.sin(a * i + b * j + 0.1 * i * j) + shift


IMAGES, TARGET = [toy(6, 2, 1 + 0.3 * k, 0.8, 0.8 * k) for k in range(3)], toy(7, 2, 0.6, 1.1, 0.9)


@pytest.mark.parametrize(
    ("criterion", "weights", "value"),
    [
        ("kl", (0.145103, 0.494515, 0.360382), 0.0023958391),
        ("bhattacharyya", (0.145287, 0.494736, 0.359977), 0.00059182176),
        ("euclid", (0.149434, 0.489248, 0.361318), 0.0011672072),
    ],
)
def test_worked_divergences(criterion: str, weights: tuple[float, ...], value: float) -> None:
    found, least = divergence_weights(P, Q, criterion)
    assert found == pytest.approx(weights, abs=1e-6)
    assert least == pytest.approx(value, abs=1e-9)


def test_worked_mmd() -> None:
    model = ImageWeighting("mmd", kernel_map="exact", gamma=1.0).fit(IMAGES, TARGET)
    assert model.weights_ == pytest.approx((0.223069, 0.676728, 0.100203), abs=1e-6)
    assert model.value_ == pytest.approx(0.0546336236, abs=1e-8)
    assert model.error_ == 0


@pytest.mark.parametrize("size", [2, 5, 20])
def test_quadratic_problems_end_where_slsqp_does(size: int) -> None:
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size, size))
    matrix, linear = root @ root.T, rng.normal(size=size)
    found = minimize(
        lambda w: w @ matrix @ w / 2 - linear @ w,
        np.full(size, 1 / size),
        bounds=[(0, 1)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    ours = simplex_qp(matrix, linear)
    assert ours == pytest.approx(found.x, abs=1e-5)
    assert ours @ matrix @ ours / 2 - linear @ ours <= found.fun + 1e-10
    assert mmd_weights(matrix, linear / 2) == pytest.approx(simplex_qp(2 * matrix, linear), abs=1e-9)


def test_singular_problems_share_among_equal_columns() -> None:
    assert simplex_qp(np.ones((4, 4)), np.ones(4)).sum() == pytest.approx(1)
    equal = simplex_qp(np.kron(np.eye(2), np.ones((2, 2))), np.zeros(4))
    assert equal[:2].sum() == pytest.approx(0.5, abs=1e-6)


def test_convex_objectives_end_alike_from_several_starts() -> None:
    def smooth(w: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        ratio = Q / (w @ P)
        return float(Q @ np.log(ratio)), -P @ ratio, (P * ratio / (w @ P)) @ P.T

    expected, value = divergence_weights(P, Q, "kl")
    for start in np.random.default_rng(0).dirichlet(np.ones(3), size=5):
        found, again = newton_on_simplex(smooth, 3, start=start)
        assert found == pytest.approx(expected, abs=1e-6)
        assert again == pytest.approx(value)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("density", ["cells", "parzen"])
def test_a_copy_of_an_image_takes_the_whole_weight(criterion: str, density: str) -> None:
    model = ImageWeighting(criterion, density=density).fit(IMAGES, IMAGES[1])
    assert model.weights_ == pytest.approx([0, 1, 0], abs=1e-4)
    assert model.value_ == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("density", ["cells", "parzen"])
def test_images_that_look_like_the_target_get_the_weight(criterion: str, density: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(800, 3)) + shift for shift in (0.0, 0.5, 3.0)]
    model = ImageWeighting(criterion, density=density, cells=32).fit(images, rng.normal(size=(700, 3)) + 0.4)
    assert model.weights_.sum() == pytest.approx(1)
    assert model.weights_[1] > 0.6
    assert model.weights_[2] < 0.05


def test_permuted_images_permute_weights() -> None:
    order = [2, 0, 1]
    for criterion in ("kl", "mmd"):
        how = {"density": "parzen"} if criterion == "kl" else {"kernel_map": "exact"}
        plain = ImageWeighting(criterion, gamma=1.0, **how).fit(IMAGES, TARGET).weights_
        moved = ImageWeighting(criterion, gamma=1.0, **how).fit([IMAGES[i] for i in order], TARGET).weights_
        assert moved == pytest.approx(plain[order], abs=1e-6)


def test_parzen_euclid_is_the_integral_of_the_squared_difference() -> None:
    images, target = [x[:, :1] for x in IMAGES], TARGET[:, :1]
    gamma, grid = 2.0, np.linspace(-8, 10, 20001)[:, None]
    window = MixedKernel.gaussian(gamma, 1)
    densities = np.stack([window(grid, x).mean(axis=1) for x in images])
    aim, step = window(grid, target).mean(axis=1), float(grid[1, 0] - grid[0, 0])
    weights, _ = divergence_weights(densities * step, aim * step, "euclid")
    model = ImageWeighting("euclid", density="parzen", gamma=gamma).fit(images, target)
    assert model.weights_ == pytest.approx(weights, abs=1e-4)


def test_random_features_come_near_exact_blocks_within_their_stated_error() -> None:
    exact = ImageWeighting("mmd", kernel_map="exact", gamma=1.0).fit(IMAGES, TARGET)
    kernel, gaps, said = MixedKernel.gaussian(1.0, 2), [], []
    inner = np.array([[kernel(a, b).mean() for b in (*IMAGES, TARGET)] for a in (*IMAGES, TARGET)])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        means = mean_embeddings([*IMAGES, TARGET], kernel, 512, memory=1.0, rng=rng)
        gaps.append(np.abs(means @ means.T - inner).max())
        said.append(ImageWeighting("mmd", gamma=1.0, random_state=seed).fit(IMAGES, TARGET).error_)
    assert np.mean(gaps) < 2.5 * np.mean(said)
    assert np.mean(said) < 3 * np.mean(gaps)
    near = ImageWeighting("mmd", gamma=1.0, components=50_000).fit(IMAGES, TARGET)
    assert near.weights_ == pytest.approx(exact.weights_, abs=0.02)


def test_memory_bounds_the_blocks_and_changes_no_number() -> None:
    assert max(part.stop - part.start for part in chunks(10_000, 1000, 1.0)) * 1000 * 4 <= 2**20
    assert sum(part.stop - part.start for part in chunks(10_001, 7, 0.01)) == 10_001
    small = ImageWeighting("mmd", gamma=1.0, memory=1e-4).fit(IMAGES, TARGET).weights_
    assert small == pytest.approx(ImageWeighting("mmd", gamma=1.0).fit(IMAGES, TARGET).weights_, abs=1e-4)


def test_cells_count_every_voxel() -> None:
    found = histograms([np.zeros((5, 1)), np.array([[0.0], [1.0], [1.0], [1.0]])], 8, floor=0, memory=1, seed=0)
    assert found.tolist() == [[1, 0], [0.25, 0.75]]


def test_sample_weights_share_an_images_weight_among_its_voxels() -> None:
    model = ImageWeighting("mmd", kernel_map="exact", gamma=1.0).fit(IMAGES, TARGET)
    each = model.sample_weights([2, 4, 2])
    assert each.mean() == pytest.approx(1)
    assert each[2:6].sum() / each.sum() == pytest.approx(model.weights_[1])
    model.weights_ = np.full(3, 1 / 3)
    assert model.sample_weights([5, 5, 5]) == pytest.approx(np.ones(15))  # the plain machine


@pytest.mark.parametrize("images", [[], [np.zeros((0, 2))], [np.zeros((3, 1))], [np.full((3, 2), np.nan)]])
def test_what_cannot_be_weighted_is_refused(images: list[np.ndarray]) -> None:
    with pytest.raises(DataError):
        ImageWeighting().fit(images, np.zeros((4, 2)))
