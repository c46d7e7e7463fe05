from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from allograft.analysis.cca import cca
from allograft.analysis.svcca import svcca, svcca_similarity

RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=(200, 3))


def test_keeping_all_variance_is_cca() -> None:
    other = RNG.normal(size=(200, 4)) + SIGNAL @ RNG.normal(size=(3, 4))
    assert svcca(SIGNAL, other, keep=1.0) == pytest.approx(cca(SIGNAL, other))


def test_small_noise_directions_do_not_dilute() -> None:
    noisy = [np.hstack([SIGNAL, 0.01 * RNG.normal(size=(200, 20))]) @ RNG.normal(size=(23, 23)) for _ in range(2)]
    clean = [SIGNAL @ RNG.normal(size=(3, 3)) for _ in range(2)]
    wide = [c @ np.eye(3, 23) + 0.001 * RNG.normal(size=(200, 23)) for c in clean]
    assert svcca_similarity(*wide) > 0.99
    assert float(cca(*wide).mean()) < 0.6  # plain CCA counts noise as much as signal
    assert 0 <= svcca_similarity(*noisy) <= 1


def test_kept_directions_equal_sklearn_pca() -> None:
    x, y = (RNG.normal(size=(150, 8)) * np.arange(1, 9) for _ in range(2))
    judge = [PCA(n_components=0.9, svd_solver="full").fit_transform(m) for m in (x, y)]
    assert svcca(x, y, keep=0.9) == pytest.approx(cca(*judge))
    assert len(svcca(x, y, keep=0.9)) < 8


@pytest.mark.parametrize("keep", [0.0, 1.5, -1])
def test_refuses_a_share_that_is_none(keep: float) -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        svcca(SIGNAL, SIGNAL, keep=keep)
