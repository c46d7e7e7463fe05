"""Nyul: NumPy's percentiles and interpolation as judges, what the map keeps, and the mean over steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allograft.functional.landmarks import landmarks, onto_scale
from allograft.objectives.nyul import Nyul
from allograft.objectives.supervised import Supervised
from two_domain_material import batches, loss_of, nets_of

PERCENTS = Nyul().percents


def drawn(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).gamma(2.0 + seed, 1.0, shape))


@pytest.mark.parametrize("shape", [(2, 13, 11), (2, 7, 6, 9)])
def test_equals_numpys_percentiles_and_interpolation_on_synthetic_images(shape):
    image, other = drawn(shape, 0), drawn(shape, 1)
    own, standard = landmarks(image, PERCENTS), landmarks(other, PERCENTS)
    np.testing.assert_allclose(own.numpy(), np.percentile(image.flatten(1), PERCENTS, axis=1).T, atol=1e-12)
    found = onto_scale(image, own, standard)
    for x, y, a, b in zip(image.numpy(), found.numpy(), own.numpy(), standard.numpy(), strict=True):
        inside = (x >= a[0]) & (x <= a[-1])
        np.testing.assert_allclose(y[inside], np.interp(x[inside], a, b), atol=1e-12)
        below, above = x < a[0], x > a[-1]
        np.testing.assert_allclose(y[below], b[0] + (x[below] - a[0]) * (b[1] - b[0]) / (a[1] - a[0]))
        np.testing.assert_allclose(y[above], b[-1] + (x[above] - a[-1]) * (b[-1] - b[-2]) / (a[-1] - a[-2]))
        assert below.any()
        assert above.any()


def test_foreground_is_what_lies_above_the_mean():
    image = drawn((1, 20, 20), 0)
    above = image[0][image[0] > image[0].mean()]
    np.testing.assert_allclose(landmarks(image, (10, 90), foreground=True)[0], np.percentile(above, (10, 90)))
    assert landmarks(torch.ones(1, 4, 4), (10, 90), foreground=True).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("dims", [2, 3])
def test_landmarks_fall_on_the_standard_ones_and_a_change_of_scale_is_undone(dims):
    image = drawn((2, *[9] * dims), 0)
    own = landmarks(image, PERCENTS)
    standard = torch.linspace(0, 1, len(PERCENTS), dtype=torch.float64).expand(2, -1)
    torch.testing.assert_close(onto_scale(own, own, standard), standard.contiguous())
    turned = 0.2 * image + 5
    torch.testing.assert_close(onto_scale(turned, landmarks(turned, PERCENTS), own), image)
    made = onto_scale(image, own, standard)
    torch.testing.assert_close(onto_scale(turned, landmarks(turned, PERCENTS), standard), made)


def test_a_background_of_one_value_stays_one_value():
    image = drawn((1, 10, 10), 0)
    image[:, :6] = 0
    own = landmarks(image, PERCENTS)
    standard = torch.tensor([[0.0, 1, 2, 3, 4, 5, 10, 20, 30, 40, 50]], dtype=torch.float64)
    made = onto_scale(image, own, standard)
    torch.testing.assert_close(made[:, :6].unique(), torch.tensor([2.5], dtype=torch.float64))  # the mean of 0 to 5
    assert bool(made.isfinite().all())
    rest = image[0, 6:].flatten().argsort()
    assert bool((made[0, 6:].flatten()[rest].diff() >= 0).all())
    blank = torch.full((1, 4), 3.0)
    made = onto_scale(blank, landmarks(blank, (1, 99)), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(made, torch.full((1, 4), 0.5))


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation"), (2, "regression"), (3, "binary")])
def test_the_mechanism_acts_the_loss_is_that_of_images_on_the_mean_scale(dims, kind):
    nets, task, batch = *nets_of(dims, kind), batches(dims, kind)
    source, target = batch["source"].image, batch["target"].image
    standard = torch.stack([landmarks(one, PERCENTS) for one in target]).double().mean(0)
    made = torch.stack([onto_scale(one, landmarks(one, PERCENTS), standard) for one in source])
    found = loss_of(Nyul(), nets, task, batch)
    supervised, plain = (loss_of(Supervised(), nets, task, {"train": batch["source"]}, image=x) for x in (made, None))
    torch.testing.assert_close(found.total, supervised.total)
    assert not torch.allclose(found.total, plain.total)


def test_the_scale_is_the_mean_over_all_steps_and_survives_a_restart():
    nets, task = nets_of(2, "multiclass")
    criterion, seen = Nyul().build(nets, task), []
    for step in range(3):
        batch = batches(2, "multiclass", step=step, other=3 + step)
        criterion.changed(batch["source"].image, batch["target"].image, None)
        seen += list(batch["target"].image)
        again = Nyul().build(nets, task)
        again.load_state_dict(criterion.state_dict())
        criterion = again
    expected = torch.stack([landmarks(one, PERCENTS) for one in seen]).double().mean(0)
    torch.testing.assert_close(criterion.total / criterion.count, expected)
    assert int(criterion.count) == len(seen) == 12


@pytest.mark.parametrize("percents", [(50,), (10, 10), (20, 10), (-1, 50), (50, 101)])
def test_percents_that_are_no_scale_are_refused(percents):
    with pytest.raises(ValidationError, match="percents are two or more rising numbers"):
        Nyul(percents=percents)
