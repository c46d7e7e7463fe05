"""Models Genesis: each distortion does what the paper says, and the network learns to undo it."""

from __future__ import annotations

import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.distort import bezier, bezier_map, in_paint, local_shuffle, out_paint
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


def test_curves_keep_or_swap_the_ends():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 50)[None]
    for _ in range(20):
        rising, falling = bezier_map(ramp, inverting=False), bezier_map(ramp, inverting=True)
        assert bool((rising.diff() >= -1e-6).all())
        assert (float(rising[0, 0]), float(rising[0, -1])) == pytest.approx((0, 1), abs=1e-5)
        assert (float(falling[0, 0]), float(falling[0, -1])) == pytest.approx((1, 0), abs=1e-5)
    x, y = bezier(torch.tensor([[0.0, 0.0], [1 / 3, 1 / 3], [2 / 3, 2 / 3], [1.0, 1.0]]))
    assert torch.allclose(x, y, atol=1e-6), "evenly spaced control points give the line"


@pytest.mark.parametrize("shape", [(36, 36), (24, 24, 24)])
def test_painting_leaves_what_it_should(shape):
    torch.manual_seed(0)
    for _ in range(10):
        image = 2 + torch.rand(2, *shape)  # noise lies in [0, 1], the image above it
        inside, outside = in_paint(image), out_paint(image)
        share = 5 / 3 ** len(shape)
        assert float((inside == image).float().mean()) >= 1 - share
        assert bool(((outside == image) | (outside <= 1)).all())
        assert 0 < float((outside == image).float().mean()) < 1
        assert torch.equal((outside == image)[0], (outside == image)[1]), "all channels alike"


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
