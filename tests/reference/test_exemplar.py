"""Exemplar: the triplet loss is the reference's, patients are no negatives of themselves, and codes part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch, View
from allograft.objectives.exemplar import Exemplar, others, triplet
from allograft.testing.tiny import tiny_net

TASK = Task(kind="binary", classes=("no", "yes"))


def toy(n, d, a, b, shift=0.0):
    i, j = np.meshgrid(np.arange(1, n + 1), np.arange(1, d + 1), indexing="ij")
    return torch.from_numpy(np.sin(a * i + b * j + 0.1 * i * j) + shift)


def test_the_worked_triplet_of_the_reference():
    found = triplet(toy(4, 3, 0.9, 0.4), toy(4, 3, 0.8, 0.5), toy(4, 3, 0.3, 1.1), 1.0)
    assert float(found) == pytest.approx(0.5434498623, abs=1e-9)


def test_equal_codes_cost_the_margin_and_a_far_negative_nothing():
    same = torch.rand(5, 7)
    assert float(triplet(same, same, same, 0.7)) == pytest.approx(0.7)
    assert float(triplet(same, same, same + 2, 1.0)) == 0.0


def test_the_negative_is_the_next_image_of_another_patient():
    assert others((), 3) == [1, 2, 0]
    assert others(("p", "p", "q", "r"), 4) == [2, 2, 3, 0]
    assert others(("p", "p", "p"), 3) == [1, 2, 0], "of one patient alone: the next image"


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("groups", "negatives"), [("ppqrr", [2, 2, 3, 0, 0]), ((), [1, 2, 3, 4, 0]), ("ppppp", [1, 2, 3, 4, 0])]
)
def test_the_loss_equals_a_loop_by_numpy(dims, groups, negatives):
    torch.manual_seed(1)
    net = tiny_net(dims).double().eval()
    criterion = Exemplar(output=6, margin=0.01).build({"net": net}, TASK).double()
    first, second = torch.randn(2, 5, 3, *[8] * dims, dtype=torch.float64)
    batch = {"images": Batch(image=first, views=(View(second, ()),), groups=tuple(groups))}
    found = criterion({"net": net}, batch, Progress(0, 10), "all")
    linear = criterion.code[0]

    def code(image):
        deep = net.encode(image)[-1].flatten(2).mean(2).detach().numpy()
        return 1 / (1 + np.exp(-(deep @ linear.weight.detach().numpy().T + linear.bias.detach().numpy())))

    a, p = code(first), code(second)
    near = [((a[i] - p[i]) ** 2).mean() for i in range(5)]
    far = [((a[i] - p[negatives[i]]) ** 2).mean() for i in range(5)]
    each = [max(0.0, x - y + 0.01) for x, y in zip(near, far, strict=True)]
    assert float(found.total.detach()) == pytest.approx(np.mean(each), abs=1e-6)
    assert float(found.parts["accuracy"]) == pytest.approx(np.mean(np.less(near, far)))
    assert float(found.parts["other_patient"]) == (0.0 if groups == "ppppp" else 1.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_codes_of_different_synthetic_images_part(dims):
    torch.manual_seed(0)
    net = tiny_net(dims)
    criterion = Exemplar(output=16).build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.02)
    image = torch.randn(8, 3, *[1] * dims) + 0.1 * torch.randn(8, 3, *[8] * dims)
    batch = {"images": Batch(image=image, views=(View(image + 0.1 * torch.randn(image.shape), ()),))}
    losses = []
    for _ in range(40):
        found = criterion({"net": net}, batch, Progress(0, 10), "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        losses.append(float(found.total.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert float(found.parts["accuracy"]) > 0.8
