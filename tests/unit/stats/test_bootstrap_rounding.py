"""Rounding noise among equal jackknife values must not pass for spread."""

import numpy as np

from allograft.stats.bootstrap import Replicates


def test_equal_values_with_rounding_noise_have_no_spread_and_real_spread_is_kept():
    noisy = np.array([1.0, 1.0 - 2e-16, 1.0, 1.0 + 2e-16])
    assert Replicates(observed=1.0, boot=noisy, jackknife=noisy).jackknife_error() == 0.0
    assert Replicates(observed=1.0, boot=noisy, jackknife=np.array([0.9, 1.0, 0.95, 1.0])).jackknife_error() > 0.01
