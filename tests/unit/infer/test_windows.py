"""Sliding windows against MONAI's inferer; every image and network here is synthetic."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from allograft.core.errors import ConfigError, DataError, NumericsError
from allograft.data.patches import Patches
from allograft.infer import coverage, windows
from allograft.infer.windows import Reader, tiles
from allograft.nets.network import Head
from allograft.testing.dense import dense_net

CASES = [
    # size of the image, windows, overlap
    ((33, 29), (16, 16), 0.5),
    ((33, 29), (16, 8), 0.25),
    ((40, 17), (8, 16), 0.7),
    ((16, 16), (16, 16), 0.5),
    ((9, 30), (16, 12), 0.5),
    ((7, 5), (16, 8), 0.0),
    ((17, 15, 21), (8, 8, 8), 0.5),
    ((12, 31, 9), (8, 12, 8), 0.3),
    ((5, 21, 10), (8, 8, 12), 0.5),
    ((9, 9, 26), (8, 8, 8), 0.75),
]


def picture(shape, channels=1, seed=0):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def whole(found, shape):
    """Put tiles together; each element must come once."""
    out, seen = None, torch.zeros(shape)
    for box, logits in found:
        assert tuple(s.stop - s.start for s in box) == logits.shape[1:]
        out = torch.full((len(logits), *shape), torch.nan) if out is None else out
        out[(slice(None), *box)] = logits
        seen[box] += 1
    assert bool((seen == 1).all())
    return out


def theirs(net, image, patches, predictor=None):
    inferer = SlidingWindowInferer(
        patches.size, patches.batch, patches.overlap, mode=patches.blend, cval=float(image.min())
    )
    with torch.no_grad():
        return inferer(image[None], predictor or (lambda x: net(x).logits["label"]))[0]


@pytest.mark.parametrize("features", [2, 5])
@pytest.mark.parametrize(("shape", "size", "overlap"), CASES)
def test_equals_monai_on_features_and_on_logits_synthetic(shape, size, overlap, features):
    net, image = dense_net(len(shape), outputs=3, features=features, in_channels=2), picture(shape, 2)
    patches = Patches(size=size, overlap=overlap, batch=3)
    assert Reader(net, "label", patches, "32-true").channels == min(features, 3)
    got = whole(tiles(net, image, head="label", patches=patches), shape)
    torch.testing.assert_close(got, theirs(net, image, patches), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("batch", [1, 2, 50])
def test_the_number_of_windows_in_a_pass_changes_nothing_synthetic(batch, blend):
    net, image = dense_net(3), picture((13, 18, 11))
    patches = Patches(size=(8, 8, 8), batch=batch, blend=blend)
    got = whole(tiles(net, image, head="label", patches=patches), image.shape[1:])
    torch.testing.assert_close(got, theirs(net, image, patches), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("shape", "size", "overlap"), CASES)
def test_bands_and_small_tiles_change_nothing_synthetic(shape, size, overlap, monkeypatch):
    net, image = dense_net(len(shape)), picture(shape)
    patches = Patches(size=size, overlap=overlap)
    expected = whole(tiles(net, image, head="label", patches=patches), shape)
    monkeypatch.setattr(coverage, "BUDGET", 0)
    monkeypatch.setattr(coverage, "TILE", 100)
    found = coverage.cover(shape, patches, channels=4)
    second = found.axes[found.second]
    assert len(found.bands) == max(1, second.padded // second.window)
    got = whole(tiles(net, image, head="label", patches=patches), shape)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (5, 12), (12, 7, 9)])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_weights_are_monais(size, blend):
    from monai.data.utils import compute_importance_map

    got = coverage.window_weights(Patches(size=size, blend=blend))
    torch.testing.assert_close(got, compute_importance_map(size, mode=blend, sigma_scale=0.125), atol=1e-7, rtol=1e-6)


def test_the_comparison_notices_a_broken_weight_map_synthetic(monkeypatch):
    net, image, patches = dense_net(2), picture((33, 29)), Patches(size=(16, 16))
    right = coverage.window_weights(patches)
    monkeypatch.setattr(windows, "window_weights", lambda _: right.clone().fill_diagonal_(0.5))
    got = whole(tiles(net, image, head="label", patches=patches), (33, 29))
    assert (got - theirs(net, image, patches)).abs().max() > 1e-3


def test_the_comparison_notices_missing_or_misplaced_windows_synthetic(monkeypatch):
    net, image, patches = dense_net(2), picture((33, 29)), Patches(size=(16, 16))
    expected = theirs(net, image, patches)
    add = windows._Sums.add
    skipped = (8, 8)
    with monkeypatch.context() as patch:
        patch.setattr(windows._Sums, "add", lambda self, at, x: add(self, at, x) if at != skipped else None)
        got = whole(tiles(net, image, head="label", patches=patches), (33, 29))
    assert (got - expected).abs().max() > 1e-3
    read = Reader.windows
    shifted = lambda self, image, corners: read(self, image, ((max(0, a - 1), b) for a, b in corners))  # noqa: E731
    monkeypatch.setattr(Reader, "windows", shifted)
    got = whole(tiles(net, image, head="label", patches=patches), (33, 29))
    assert (got - expected).abs().max() > 1e-3


def test_a_large_volume_walks_so_that_little_is_kept():
    patches = Patches(size=(128, 128, 128))
    found = coverage.cover((400, 512, 512), patches, channels=33)
    roll, second = found.axes[found.roll], found.axes[found.second]
    kept = (roll.height * second.window + roll.carried * second.padded) * found.axes[2].padded * 33 * 4
    assert kept < 3 * 2**30
    assert roll.carried == 64
    for many in (119, 500):
        assert len(coverage.cover((400, 512, 512), patches, channels=many).bands) > 1


@pytest.mark.parametrize("mirror", [(0,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("features", [2, 5])
def test_mirroring_is_the_average_over_all_subsets_synthetic(mirror, features):
    net, image = dense_net(3, features=features), picture((11, 9, 12))
    patches = Patches(size=(8, 8, 8), mirror=mirror)

    def average(x):
        every = [s for n in range(len(mirror) + 1) for s in itertools.combinations([a + 2 for a in mirror], n)]
        return torch.stack([net(x.flip(s)).logits["label"].flip(s) for s in every]).mean(0)

    got = whole(tiles(net, image, head="label", patches=patches), (11, 9, 12))
    torch.testing.assert_close(got, theirs(net, image, patches, average), atol=1e-5, rtol=1e-5)
    assert (got - theirs(net, image, patches)).abs().max() > 1e-2


@pytest.mark.parametrize("shape", [(21, 18), (13, 5, 20)])
def test_a_constant_network_gives_its_constant_synthetic(shape):
    net = dense_net(len(shape))
    for value in net.heads["label"].conv.parameters():
        value.data.zero_()
    net.heads["label"].conv.bias.data.copy_(torch.tensor([1.0, -2.0, 0.25]))
    got = whole(tiles(net, picture(shape), head="label", patches=Patches(size=(8,) * len(shape))), shape)
    for number, constant in enumerate((1.0, -2.0, 0.25)):
        torch.testing.assert_close(got[number], torch.full(shape, constant), atol=1e-6, rtol=0)


class Squared(Head):
    """A head that is not linear: blending its features would be wrong."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1)

    def forward(self, pooled, decoded):
        return self.conv(decoded) ** 2 + pooled.mean()


def test_a_head_that_is_not_linear_is_blended_as_logits_synthetic():
    net, image, patches = dense_net(2, features=2, head=Squared()), picture((20, 27)), Patches(size=(8, 12))
    assert Reader(net, "label", patches, "32-true").channels == 3
    got = whole(tiles(net, image, head="label", patches=patches), (20, 27))
    torch.testing.assert_close(got, theirs(net, image, patches), atol=1e-5, rtol=1e-5)


def test_several_networks_can_be_zipped_synthetic():
    image, patches = picture((20, 27)), Patches(size=(8, 12))
    one, other = (dense_net(2, features=features) for features in (2, 5))
    found = [[box for box, _ in tiles(net, image, head="label", patches=patches)] for net in (one, other)]
    assert found[0] == found[1]


def test_networks_and_gradients_are_left_as_they_were_synthetic():
    net = dense_net(2).train()
    net.encoder.eval()
    modes = [module.training for module in net.modules()]
    found = tiles(net, picture((20, 27)), head="label", patches=Patches(size=(8, 12)))
    _, logits = next(found)
    assert torch.is_grad_enabled()
    assert not logits.requires_grad
    assert [module.training for module in net.modules()] == modes
    again = whole(tiles(net, picture((20, 27)), head="label", patches=Patches(size=(8, 12))), (20, 27))
    expected = theirs(dense_net(2), picture((20, 27)), Patches(size=(8, 12)))
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


def test_bf16_is_honoured_and_summed_in_float32_synthetic():
    net, image, patches = dense_net(2), picture((20, 27)), Patches(size=(8, 12))
    full, low = (
        whole(tiles(net, image, head="label", patches=patches, precision=p), (20, 27))
        for p in ("32-true", "bf16-mixed")
    )
    assert low.dtype == torch.float32
    assert 0 < (full - low).abs().max() < 0.1
    assert (full.argmax(0) == low.argmax(0)).float().mean() > 0.95


def test_what_cannot_be_segmented_says_why_synthetic():
    net, patches = dense_net(2), Patches(size=(8, 8))
    bad = picture((20, 20))
    bad[0, 17, 3] = torch.inf
    with pytest.raises(NumericsError, match=r"not finite at \[.*\] of the image"):
        list(tiles(net, bad, head="label", patches=patches))
    with pytest.raises(ConfigError, match=r'no head "lesion".*Known: label'):
        tiles(net, picture((20, 20)), head="lesion", patches=patches)
    with pytest.raises(DataError, match="1 channels and 2 axes"):
        tiles(net, picture((20, 20), 2), head="label", patches=patches)
    with pytest.raises(ConfigError, match="3 axes, the network takes 2"):
        tiles(net, picture((20, 20)), head="label", patches=Patches(size=(8, 8, 8)))
    with pytest.raises(ConfigError, match="2 axes, the image"):
        coverage.cover((20, 20, 20), patches, channels=4)
    net.decoder = None
    with pytest.raises(ConfigError, match="no decoder"):
        tiles(net, picture((20, 20)), head="label", patches=patches)


class Coarse(torch.nn.Module):
    channels = 4

    def forward(self, levels):
        return levels[-1]


def test_a_decoder_off_the_grid_is_refused_synthetic():
    net = dense_net(2)
    net.decoder = Coarse()
    with pytest.raises(ConfigError, match="not one for every element"):
        list(tiles(net, picture((20, 20)), head="label", patches=Patches(size=(8, 8))))
