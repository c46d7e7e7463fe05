"""FDA: NumPy's transform as judge, whose amplitudes and phases come out, and the step's loss typed out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.errors import ConfigError, DataError
from allograft.functional.amplitude import band_radius, swap_amplitude
from allograft.objectives.fourier_adaptation import FourierAdaptation
from allograft.objectives.supervised import Supervised
from two_domain_material import AT, batches, loss_of, nets_of

SHAPES = [(2, 12, 17), (3, 9, 8, 11)]


def pair(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand((3, *shape), generator=generator, dtype=torch.float64) ** k for k in (1, 2)]
    return tuple(each.to(dtype) for each in made)


def by_numpy(source, target, radius):
    """Swap the centred cube of amplitudes after a shift of the spectrum, as the paper's authors do."""
    axes = tuple(range(2, source.ndim))
    one, two = np.fft.fftn(source, axes=axes), np.fft.fftn(target, axes=axes)
    own, other = (np.fft.fftshift(np.abs(x), axes=axes) for x in (one, two))
    centre = tuple(slice(n // 2 - radius, n // 2 + radius + 1) for n in source.shape[2:])
    own[(..., *centre)] = other[(..., *centre)]
    mixed = np.fft.ifftshift(own, axes=axes) * np.exp(1j * np.angle(one))
    return np.fft.ifftn(mixed, axes=axes).real


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [0.05, 0.2, 0.3])
def test_equals_numpy_on_synthetic_images_of_no_negative_values(shape, beta):
    source, target = pair(shape)
    expected = by_numpy(source.numpy(), target.numpy(), math.floor(beta * min(shape[1:])))
    np.testing.assert_allclose(swap_amplitude(source, target, beta).numpy(), expected, atol=1e-12)
    assert not np.allclose(expected, source.numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bands_amplitudes_are_the_targets_and_all_phases_the_sources(shape):
    source, target = pair(shape)
    axes = tuple(range(2, source.ndim))
    spectra = [torch.fft.fftn(x, dim=axes) for x in (source, target, swap_amplitude(source, target, 0.3))]
    radius = band_radius(0.3, shape[1:])
    grid = torch.meshgrid(*[torch.fft.fftfreq(n, 1 / n).abs() for n in shape[1:]], indexing="ij")
    band = torch.stack(grid).amax(0) <= radius
    own, other, made = spectra
    torch.testing.assert_close(made.abs()[..., band], other.abs()[..., band])
    torch.testing.assert_close(made[..., ~band], own[..., ~band])
    torch.testing.assert_close(made / made.abs(), own / own.abs())
    assert 0 < int(band.sum()) < band.numel()


@pytest.mark.parametrize("shape", SHAPES)
def test_beta_0_and_the_own_image_are_identities(shape):
    source, target = pair(shape, torch.float32)
    assert swap_amplitude(source, target, 0) is source
    torch.testing.assert_close(swap_amplitude(source, source, 0.5), source)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_does_not_matter_how_images_were_normalised(shape):
    source, target = pair(shape)
    plain = swap_amplitude(source, target, 0.2)
    torch.testing.assert_close(swap_amplitude(3 * source - 2, 3 * target - 2, 0.2), 3 * plain - 2)


def test_images_of_different_size_are_refused_by_name():
    with pytest.raises(DataError, match=r"\(1, 1, 8, 8\).*\(1, 1, 8, 9\)"):
        swap_amplitude(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9), 0.1)


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "binary"), (3, "segmentation"), (2, "multilabel")])
def test_equals_the_loss_typed_out(dims, kind):
    nets, task, batch = *nets_of(dims, kind), batches(dims, kind)
    batch["target"].image[:] = batch["target"].image[:1]  # whoever is drawn, it is the same image
    found = loss_of(FourierAdaptation(beta=0.2, entropy_weight=0.5, begin=0), nets, task, batch)
    for net in nets.values():
        net.eval()
    made = swap_amplitude(batch["source"].image, batch["target"].image[:4], 0.2)
    supervised = loss_of(Supervised(), nets, task, {"train": batch["source"]}, image=made).total
    logits = nets["net"](batch["target"].image).logits["label"].detach().double()
    p = (
        logits.softmax(1)
        if kind in {"multiclass", "segmentation"}
        else torch.stack([1 - logits.sigmoid(), logits.sigmoid()], 1)
    )
    unsure = -(p * p.log()).sum(1) / math.log(p.shape[1])
    expected = supervised + 0.5 * ((unsure**2 + 1e-8) ** 2).mean()
    torch.testing.assert_close(found.total, expected.float(), atol=1e-5, rtol=1e-5)


def test_the_mechanism_acts_beta_0_without_entropy_is_supervised_and_others_are_not():
    for dims, kind in ((2, "multiclass"), (3, "segmentation")):
        nets, task, batch = *nets_of(dims, kind), batches(dims, kind)
        plain = loss_of(Supervised(), nets, task, {"train": batch["source"]}).total
        still = FourierAdaptation(beta=0, entropy_weight=0)
        assert torch.equal(loss_of(still, nets, task, batch).total, plain)
        moved = loss_of(FourierAdaptation(beta=0.3, entropy_weight=0), nets, task, batch)
        assert not torch.equal(moved.total, plain)
        assert float(moved.parts["change"]) > 0.01


def test_the_entropy_begins_when_it_is_to_begin():
    nets, task, batch = *nets_of(2, "multiclass"), batches(2, "multiclass")
    objective = FourierAdaptation(begin=0.5)
    assert "entropy" not in loss_of(objective, nets, task, batch, at=Progress(4, 10)).parts
    assert "entropy" in loss_of(objective, nets, task, batch, at=AT).parts


def test_a_regression_has_no_entropy():
    nets, task = nets_of(2, "regression")
    with pytest.raises(ConfigError, match="entropy_weight: 0"):
        FourierAdaptation().build(nets, task)
    FourierAdaptation(entropy_weight=0).build(nets, task)
