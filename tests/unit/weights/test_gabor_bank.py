from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch

from allograft.weights.gabor import bank, gabor


def test_worked_values() -> None:
    g = gabor((7, 7), wavelength=4, angle=pi / 4, sigma=2, aspect=0.5)
    expected = {(3, 3): 1.0, (0, 0): 0.0978359, (3, 4): 0.4106475}
    for (row, column), value in expected.items():
        assert float(g[row, column]) == pytest.approx(value, abs=1e-7)
    assert float(g.sum()) == pytest.approx(1.7111700, abs=1e-6)


def test_against_scikit_image() -> None:
    filters = pytest.importorskip("skimage.filters")
    ours = gabor((11, 11), wavelength=5, angle=0.6, sigma=3, aspect=1.0).numpy()
    theirs = filters.gabor_kernel(1 / 5, theta=0.6, sigma_x=3, sigma_y=3, n_stds=10).real
    middle = theirs.shape[0] // 2
    cut = theirs[middle - 5 : middle + 6, middle - 5 : middle + 6]
    np.testing.assert_allclose(ours / ours.max(), cut / cut.max(), atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (16, 1, 5, 5), (100, 4, 7, 7), (64, 3, 7, 7, 7), (8, 1, 3, 3, 3)])
def test_filters_have_mean_zero_and_the_norm_asked_for(shape: tuple[int, ...]) -> None:
    w = bank(shape, 0.5)
    assert tuple(w.shape) == shape
    torch.testing.assert_close(w.flatten(1).norm(dim=1), torch.full((shape[0],), 0.5))
    torch.testing.assert_close(w.flatten(2).mean(2), torch.zeros(shape[:2]), atol=1e-6, rtol=0)


def test_half_are_blind_to_colour_and_half_to_grey() -> None:
    w = bank((96, 3, 7, 7), 1.0)
    grey, colour = w[0::2], w[1::2]
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    torch.testing.assert_close(colour.sum(1), torch.zeros(48, 7, 7), atol=1e-6, rtol=0)
    assert len({tuple(f.flatten().tolist()) for f in w}) == 96


def test_few_filters_still_hold_every_wavelength() -> None:
    sparse = bank((6, 1, 7, 7), 1.0)
    spectrum = torch.fft.fft2(sparse[:, 0], s=(64, 64)).abs().flatten(1).argmax(1)
    assert len(set(spectrum.tolist())) >= 3


def test_in_3d_the_filter_lies_in_the_middle_slice() -> None:
    flat, volume = bank((16, 1, 7, 7), 1.0), bank((16, 1, 5, 7, 7), 1.0)
    assert torch.equal(volume[:, :, 2], flat)
    assert float(volume[:, :, [0, 1, 3, 4]].abs().sum()) == 0


@pytest.mark.parametrize("shape", [(8, 3, 1, 1), (8, 3, 2, 7, 7), (8, 3, 7)])
def test_kernels_without_room_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 3 x 3"):
        bank(shape, 1.0)
