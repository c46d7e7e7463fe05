"""CPC: the pyramid is the paper's, the loss is InfoNCE, and what lies below is told from what lies above."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.cpc import CPC, columns
from allograft.objectives.patch_grid import cells
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


@pytest.mark.parametrize(("side", "context", "below"), [(2, 1, 1), (3, 1, 2), (4, 10, 2), (5, 10, 3), (7, 35, 4)])
def test_counts_of_context_and_predicted_patches_are_the_papers(side, context, below):
    found = columns(side, 3)
    assert {(len(c.context), len(c.below)) for c in found} == {(context, below)}
    for column in found:
        assert not set(column.context) & set(column.below)
        row = side**2
        assert max(column.context) // row < min(column.below) // row, "the context lies above"
        assert list(column.context) == sorted(column.context), "raster order"


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_seven_eighths_of_their_cells_and_half_of_them_mirrored(dims):
    image = torch.arange(float(16**dims)).reshape(1, 1, *[16] * dims).expand(60, 1, *[16] * dims)
    found = _criterion(dims, per_side=2).patches(image)
    assert found.shape == (60, 2**dims, 1, *[7] * dims)
    corners = torch.stack(torch.unravel_index(found.flatten(2).min(2).values.long(), (16,) * dims), -1)
    cell = torch.stack(torch.unravel_index(torch.arange(2**dims), (2,) * dims), -1) * 8
    assert set((corners - cell).flatten().tolist()) == {0, 1}, "moved by what is cut off"
    falls = (
        found[(slice(None), slice(None), 0, 0, *[0] * (dims - 1))]
        > found[(slice(None), slice(None), 0, 1, *[0] * (dims - 1))]
    )
    assert 0.3 < float(falls.float().mean()) < 0.7
    assert not (_criterion(dims, per_side=2, flips=False).patches(image).diff(dim=3) < 0).any()


@pytest.mark.parametrize("dims", [2, 3])
def test_equal_codes_give_the_logarithm_of_the_number_of_candidates(dims):
    net = tiny_net(dims)
    criterion = CPC(per_side=3, code=4, context=5).build({"net": net}, TASK)
    flat = {"images": Batch(image=torch.ones(3, 3, *[15] * dims))}
    found = criterion({"net": net.eval()}, flat, AT, "all")
    candidates = 3 * len(columns(3, dims))
    assert float(found.total.detach()) == pytest.approx(math.log(candidates), abs=1e-4)
    assert float(found.parts["chance"]) == pytest.approx(1 / candidates)


def test_the_worked_value_of_the_reference():
    def toy(a, b, shift=0.0):
        i, j = np.meshgrid(np.arange(1, 5), np.arange(1, 4), indexing="ij")
        made = np.sin(a * i + b * j + 0.1 * i * j) + shift
        return torch.from_numpy(made / np.linalg.norm(made, axis=1, keepdims=True))

    criterion = _criterion(2, temperature=0.1)
    found = criterion._loss(toy(0.9, 0.4)[:, None], toy(0.8, 0.5, 0.1)[:, None])
    assert float(found) == pytest.approx(0.0362399231, abs=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", ["info_nce", "binary"])
def test_the_losses_equal_loops_over_columns_images_and_rows(loss, dims):
    torch.manual_seed(3)
    net = tiny_net(dims).double().eval()
    criterion = CPC(per_side=4, code=4, context=5, temperature=0.7, loss=loss).build({"net": net}, TASK).double()
    image = torch.randn(2, 3, *[16] * dims, dtype=torch.float64)
    patches = cells(image, 4, 0)
    criterion.patches = lambda image: patches
    codes = criterion.coder(criterion.embed(net, patches))
    every = [(b, c) for b in range(2) for c in columns(4, dims)]
    last = [criterion.recurrent(codes[b : b + 1, list(c.context)])[1][0, 0] for b, c in every]
    told = [[linear(one).detach().numpy() for linear in criterion.maps] for one in last]
    truth = [[codes[b, place].detach().numpy() for place in c.below] for b, c in every]
    each = []
    count = len(every)
    if loss == "info_nce":
        for i, row in itertools.product(range(count), range(2)):
            scores = [told[i][row] @ truth[k][row] / 0.7 for k in range(count)]
            each.append(math.log(sum(map(math.exp, scores))) - scores[i])
    else:
        torch.manual_seed(9)
        other = [(i + step) % count for i, step in enumerate(torch.randint(1, count, (count,)).tolist())]
        for i in range(count):
            right, wrong = (np.mean(np.multiply(told[i], truth[k])) for k in (i, other[i]))
            each += [-math.log(1 / (1 + math.exp(-right))), -math.log(1 - 1 / (1 + math.exp(-wrong)))]
    torch.manual_seed(9)
    found = float(criterion({"net": net}, {"images": Batch(image=image)}, AT, "all").total.detach())
    assert found == pytest.approx(sum(each) / len(each), abs=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_the_one_negative_is_never_the_patch_itself(count):
    """With a single image too: the negative is another column of it."""
    criterion = _criterion(2, per_side=2, loss="binary")
    rows = torch.eye(2 * count)[:, None] * 50
    for _ in range(5):
        assert float(criterion._loss(rows, rows)) < 1, "the patch itself as its negative would cost more"


@pytest.mark.parametrize("loss", ["info_nce", "binary"])
def test_what_lies_below_is_learnt_on_synthetic_stripes(loss):
    torch.manual_seed(0)
    net = tiny_net(2)
    criterion = CPC(per_side=3, code=16, context=16, loss=loss).build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    losses = []
    for _ in range(40):
        image = torch.randn(12, 3, 1, 1) + 0.1 * torch.randn(12, 3, 15, 15)  # each image has a colour of its own
        found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        losses.append(float(found.total.detach()))
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def _criterion(dims, **fields):
    return CPC(code=4, context=5, **fields).build({"net": tiny_net(dims, in_channels=1)}, TASK)
