"""Models Genesis: each distortion does what the paper says, and the network learns to undo it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BPoly

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional import distort
from allograft.functional.distort import bezier_map, in_paint, local_shuffle, out_paint
from allograft.objectives import models_genesis
from allograft.objectives.models_genesis import ModelsGenesis
from allograft.objectives.restoring import unit_range
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


@pytest.mark.parametrize("shape", [(40, 30), (20, 30, 40)])
def test_shuffled_values_stay_within_a_tenth_of_each_axis(shape):
    torch.manual_seed(0)
    place = torch.arange(float(torch.tensor(shape).prod())).reshape(1, *shape)
    out = local_shuffle(place, 300)
    assert not torch.equal(out, place)
    index = out.long()
    for axis, n in enumerate(shape):
        step = int(torch.tensor(shape[axis + 1 :]).prod()) if shape[axis + 1 :] else 1
        coordinate = (index // step) % n
        here = torch.arange(n).reshape(1, *[-1 if a == axis else 1 for a in range(len(shape))])
        assert int((coordinate - here).abs().max()) <= n // 10 - 1
    kept = local_shuffle(place, 300, running=True)
    assert torch.equal(kept.flatten().sort().values, place.flatten().sort().values), "the running variant keeps values"


@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 12), (40, 30)])
@pytest.mark.parametrize("running", [False, True])
def test_one_window_is_permuted_and_nothing_else_changes(shape, running):
    """Also where a tenth of the axis is a single element: sides of two then."""
    torch.manual_seed(0)
    place = torch.arange(float(np.prod(shape))).reshape(1, *shape).repeat(2, *[1] * len(shape))
    changed = 0
    for _ in range(30):
        out = local_shuffle(place, 1, running=running)
        moved = (out != place)[0].nonzero()
        assert torch.equal(out[0], out[1]), "all channels alike"
        assert torch.equal(out[0].flatten().sort().values, place[0].flatten())
        if len(moved):
            extent = moved.max(0).values - moved.min(0).values + 1
            assert bool((extent <= torch.tensor([max(2, n // 10) for n in shape])).all())
            changed += 1
    assert changed > 5


def test_later_windows_read_the_image_and_overwrite_earlier_ones():
    """By a loop over the same windows: what the published description does, one after the other."""
    image = torch.rand(1, 24, 31)
    for seed in range(3):
        torch.manual_seed(seed)
        found = local_shuffle(image, 400)
        torch.manual_seed(seed)
        inside, shuffled = distort._windows(torch.tensor([24, 31]), 400)
        expected = image.numpy().reshape(-1).copy()
        for here, there in zip(inside.numpy(), shuffled.numpy(), strict=True):
            assert set(here) == set(there), "a permutation"
            expected[here[here >= 0]] = image.numpy().reshape(-1)[there[there >= 0]]
        assert np.array_equal(found.numpy().reshape(-1), expected)


@pytest.mark.parametrize("inverting", [False, True])
@pytest.mark.parametrize("shape", [(1, 9, 7), (1, 5, 6, 7)])
def test_intensities_pass_scipys_curve(inverting, shape):
    image = torch.rand(shape)
    for seed in range(5):
        torch.manual_seed(seed)
        found = bezier_map(image, inverting=inverting)
        torch.manual_seed(seed)
        points = np.vstack([[0, 0], torch.rand(2, 2).double().numpy(), [1, 1]])
        x, y = BPoly(points[:, None], [0, 1])(np.linspace(0, 1, 1000)).T
        y = y[::-1] if inverting else np.sort(y)
        assert np.allclose(found.numpy(), np.interp(image.numpy(), np.sort(x), y), atol=2e-5)


def test_curves_keep_or_swap_the_ends():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 50)[None]
    for _ in range(20):
        rising, falling = bezier_map(ramp, inverting=False), bezier_map(ramp, inverting=True)
        assert bool((rising.diff() >= -1e-6).all())
        assert (float(rising[0, 0]), float(rising[0, -1])) == pytest.approx((0, 1), abs=1e-5)
        assert (float(falling[0, 0]), float(falling[0, -1])) == pytest.approx((1, 0), abs=1e-5)
    falls = sum(float(bezier_map(ramp)[0, 0]) > 0.5 for _ in range(200))
    assert 70 < falls < 130, "half of the curves invert"


@pytest.mark.parametrize("shape", [(36, 36), (24, 24, 24)])
def test_painting_leaves_what_it_should(shape):
    torch.manual_seed(0)
    for _ in range(10):
        image = 2 + torch.rand(2, *shape)  # noise lies in [0, 1], the image above it
        inside, outside = in_paint(image), out_paint(image)
        share = 5 / 3 ** len(shape)
        assert float((inside == image).float().mean()) >= 1 - share
        for painted in (inside, outside):
            assert bool(((painted == image) | (painted <= 1)).all())
            assert torch.equal((painted == image)[0], (painted == image)[1]), "all channels alike"
            assert painted[painted <= 1].std() > 0.2, "noise of each element"
        assert 0 < float((outside == image).float().mean()) < 1
        border = torch.ones(shape, dtype=torch.bool)
        border[(slice(3, -3),) * len(shape)] = False
        assert bool((inside == image)[0][border].all()), "three elements at the border stay"
        assert not bool((outside == image)[0][border].any())


@pytest.mark.parametrize(("paint", "sides", "blocks"), [(in_paint, (7, 14), 4.298), (out_paint, (18, 24), 4.524)])
def test_blocks_are_as_many_and_as_large_as_published(paint, sides, blocks, monkeypatch):
    """Sides of a sixth to a third of 42, or what three to four sevenths leave; each block follows with 0.95."""
    torch.manual_seed(0)
    drawn, found = [], distort._block
    monkeypatch.setattr(distort, "_block", lambda size, side, border: drawn.append(side) or found(size, side, border))
    for _ in range(300):
        paint(torch.rand(1, 42, 42))
    assert len(drawn) / 300 == pytest.approx(blocks, abs=0.25)
    assert ({min(side) for side in drawn} & {sides[0]}, {max(side) for side in drawn} & {sides[1]}) == (
        {sides[0]},
        {sides[1]},
    )
    assert all(sides[0] <= n <= sides[1] for side in drawn for n in side)


def test_each_distortion_acts_as_often_as_published_and_in_this_order(monkeypatch):
    torch.manual_seed(0)
    told = []
    for name in ("local_shuffle", "bezier_map", "in_paint", "out_paint"):
        monkeypatch.setattr(models_genesis, name, lambda image, *_, name=name, **__: told[-1].append(name) or image)
    criterion = ModelsGenesis().build({"net": tiny_net(2)}, TASK)
    for _ in range(1000):
        told.append([])
        criterion._distort(torch.rand(1, 4, 4))
    for name, share in (("local_shuffle", 0.5), ("bezier_map", 0.9), ("in_paint", 0.18), ("out_paint", 0.72)):
        assert sum(name in one for one in told) / 1000 == pytest.approx(share, abs=0.06)
    assert ["local_shuffle", "bezier_map", "out_paint"] in told
    assert all(one == sorted(one, key=["local_shuffle", "bezier_map", "in_paint", "out_paint"].index) for one in told)


def test_as_many_windows_as_published_for_each_element(monkeypatch):
    seen = []
    monkeypatch.setattr(models_genesis, "local_shuffle", lambda image, windows, **_: seen.append(windows) or image)
    criterion = ModelsGenesis(shuffle=1, intensity=0, paint=0).build({"net": tiny_net(3)}, TASK)
    criterion._distort(torch.empty(1, 64, 64, 32))
    assert seen == [10_000]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_is_numpys_mean_squared_error_to_the_clean_image(dims):
    net = tiny_net(dims).eval()
    criterion = ModelsGenesis(width=8).build({"net": net}, TASK).eval()
    image = 3 * torch.randn(4, 3, *[8] * dims) + 7
    clean = image.numpy().astype(np.float64)
    low, high = (getattr(clean, end)(axis=tuple(range(1, dims + 2)), keepdims=True) for end in ("min", "max"))
    clean = (clean - low) / (high - low)
    torch.manual_seed(6)
    spoilt = criterion.spoilt(image)
    made = 1 / (1 + np.exp(-criterion.restorer(net, spoilt).detach().numpy().astype(np.float64)))
    torch.manual_seed(6)
    found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
    assert float(found.total.detach()) == pytest.approx(((made - clean) ** 2).mean(), abs=1e-6)
    spoilt_unit = (spoilt.numpy().astype(np.float64) - low) / (high - low)
    flat = clean.reshape(len(clean), -1)
    assert float(found.parts["mean_guess"]) == pytest.approx(flat.var(axis=1).mean(), abs=1e-6)
    assert float(found.parts["unrestored"]) == pytest.approx(((spoilt_unit - clean) ** 2).mean(), abs=1e-6)


def test_without_distortions_nothing_is_spoilt_and_an_identity_has_no_loss():
    plain = ModelsGenesis(shuffle=0, intensity=0, paint=0)
    criterion = plain.build({"net": tiny_net(2)}, TASK)
    image = 3 * torch.randn(4, 3, 8, 8)
    assert torch.allclose(criterion.spoilt(image), image, atol=1e-5)
    criterion.restored = lambda net, spoilt: unit_range(spoilt)[0]
    assert float(criterion({"net": None}, {"images": Batch(image=image)}, AT, "all").total) < 1e-10


def test_evaluation_does_not_depend_on_who_else_is_in_the_batch():
    net = tiny_net(2).eval()
    criterion = ModelsGenesis().build({"net": net}, TASK).eval()
    image = torch.randn(5, 3, 8, 8)
    assert torch.allclose(criterion.restored(net, image)[:2], criterion.restored(net, image[:2]), atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_restoring_is_learnt_on_synthetic_images(dims):
    torch.manual_seed(0)
    net = tiny_net(dims)
    criterion = ModelsGenesis(width=16).build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    image = torch.linspace(0, 1, 8).reshape(1, 1, 8, *[1] * (dims - 1)) + 0.05 * torch.randn(6, 3, *[8] * dims)
    losses = []
    for _ in range(40):
        found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        losses.append(float(found.total.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
