"""TCA: worked eigenvalues, the constraint that a symmetric solver of the wrong matrix breaks, and what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

from allograft.core.errors import ConfigError
from allograft.nets.heads.kernel import KernelHead
from allograft.procedures.tca import TCATransfer
from allograft.shallow.tca import TCA
from toy_domains import SOURCE, TARGET, plain_rbf


def matrices(gamma: float, mu: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return K, K H K and K L K + mu I, entry by entry as the paper writes them."""
    x, n_s, n_t = np.concatenate([SOURCE, TARGET]), 12, 10
    n, kernel = n_s + n_t, plain_rbf(x, x, gamma)
    between = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            inside = i < n_s, j < n_s
            between[i, j] = 1 / n_s**2 if all(inside) else (-1 / (n_s * n_t) if any(inside) else 1 / n_t**2)
    centred = np.eye(n) - np.ones((n, n)) / n
    return kernel, kernel @ centred @ kernel, kernel @ between @ kernel + mu * np.eye(n)


def test_worked_eigenvalues_of_the_toy_domains() -> None:
    found = TCA(2, gamma=0.5, mu=1.0).fit(SOURCE, TARGET)
    assert found.eigenvalues_ == pytest.approx((17.753776, 6.613563), abs=1e-6)


def test_values_and_vectors_are_those_of_the_generalised_problem() -> None:
    found = TCA(5, gamma=0.5, mu=0.3).fit(SOURCE, TARGET)
    _, variance, cost = matrices(0.5, 0.3)
    assert found.eigenvalues_ == pytest.approx(eigh(variance, cost, eigvals_only=True)[::-1][:5], rel=1e-9)
    v = found.vectors_
    assert variance @ v == pytest.approx(cost @ v * found.eigenvalues_, abs=1e-8)
    assert v.T @ cost @ v == pytest.approx(np.eye(5), abs=1e-9)


def test_the_symmetric_solver_of_the_product_breaks_the_constraint() -> None:
    """The trap in released code: it would give 17.648950 and 6.632959."""
    _, variance, cost = matrices(0.5, 1.0)
    values, v = np.linalg.eigh(np.linalg.solve(cost, variance))
    assert values[::-1][:2] != pytest.approx((17.753776, 6.613563), abs=1e-3)
    assert v[:, -2:].T @ cost @ v[:, -2:] != pytest.approx(np.eye(2), abs=1e-3)


def test_new_samples_go_by_their_kernel_row_and_both_domains_by_one_map() -> None:
    found = TCA(3, gamma=0.5).fit(SOURCE, TARGET)
    kernel, _, _ = matrices(0.5, 1.0)
    embedded = kernel @ found.vectors_
    assert found.transform_source(SOURCE) == pytest.approx(embedded[:12])
    assert found.transform_target(TARGET) == pytest.approx(embedded[12:])
    assert found.transform(TARGET[3:4] + 0.1) == pytest.approx(
        plain_rbf(TARGET[3:4] + 0.1, np.concatenate([SOURCE, TARGET]), 0.5) @ found.vectors_
    )


def test_means_agree_in_the_embedding_the_more_the_less_mu_weighs() -> None:
    def apart(mu: float) -> float:
        found = TCA(3, gamma=0.5, mu=mu).fit(SOURCE, TARGET)
        a, b = found.transform_source(SOURCE), found.transform_target(TARGET)
        return float(np.linalg.norm(a.mean(0) - b.mean(0)) / np.concatenate([a, b]).std())

    assert apart(1e-3) < apart(1.0) < apart(100.0)


def test_many_samples_are_drawn_from_and_too_many_components_refused() -> None:
    rng = np.random.default_rng(0)
    found = TCA(2, most=30).fit(rng.normal(size=(80, 2)), rng.normal(size=(20, 2)))
    assert found.anchors_.shape == (30, 2)
    with pytest.raises(ConfigError, match="Give 1 to 22"):
        TCA(23).fit(SOURCE, TARGET)


def test_a_kernel_head_gives_the_logits_of_a_classifier_of_the_embedding() -> None:
    tca, rows = TCA(3, gamma=0.5).fit(SOURCE, TARGET), np.array([[1.0, -2.0, 0.5], [0.1, 0.2, -0.3]])
    head = KernelHead(3, 2, 22)
    assert torch.equal(head(torch.randn(4, 3), None), torch.zeros(4, 2))
    values = {"centre": np.zeros(3), "scale": np.ones(3), "anchors": tca.anchors_, "gamma": tca.gamma_}
    values |= {"dual": tca.vectors_ @ rows.T, "bias": np.array([0.3, -0.1])}
    head.write(**{name: torch.as_tensor(value) for name, value in values.items()})
    logits = head(torch.tensor(TARGET, dtype=torch.float32), None).numpy()
    assert logits == pytest.approx(tca.transform(TARGET) @ rows.T + [0.3, -0.1], abs=1e-5)
    assert not list(head.parameters()), "nothing of it is trained"


def test_the_procedure_has_the_estimators_defaults() -> None:
    own, estimator = TCATransfer(), TCA()
    assert (own.components, own.mu, own.most) == (estimator.components, estimator.mu, estimator.most)
