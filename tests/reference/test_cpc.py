"""CPC: the pyramid is the paper's, the loss is InfoNCE, and what lies below is told from what lies above."""

from __future__ import annotations

import math

import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.cpc import CPC, columns, overlapping
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
def test_patches_cover_the_image_and_overlap(dims):
    image = torch.arange(float(16**dims)).reshape(1, 1, *[16] * dims)
    found = overlapping(image, 4)
    assert found.shape == (1, 4**dims, 1, *[6] * dims)
    assert len(found.unique()) == image.numel()


@pytest.mark.parametrize("dims", [2, 3])
def test_equal_codes_give_the_logarithm_of_the_number_of_candidates(dims):
    net = tiny_net(dims)
    criterion = CPC(per_side=3, code=4, context=5).build({"net": net}, TASK)
    flat = {"images": Batch(image=torch.ones(3, 3, *[12] * dims))}
    found = criterion({"net": net.eval()}, flat, AT, "all")
    candidates = 3 * len(columns(3, dims))
    assert float(found.total) == pytest.approx(math.log(candidates), abs=1e-4)
    assert float(found.parts["chance"]) == pytest.approx(1 / candidates)


def test_the_loss_equals_a_loop_over_columns_images_and_rows():
    torch.manual_seed(3)
    net = tiny_net(2)
    criterion = CPC(per_side=4, code=4, context=5, temperature=0.7).build({"net": net.eval()}, TASK)
    image = torch.randn(3, 3, 16, 16)
    codes = criterion.coder(criterion.embed(net, overlapping(image, 4)))
    each = []
    for row, linear in enumerate(criterion.maps):
        keys = [codes[b, c.below[row]] for c in columns(4, 2) for b in range(3)]
        told = []
        for c in columns(4, 2):
            for b in range(3):
                _, last = criterion.recurrent(codes[b : b + 1, list(c.context)])
                told.append(linear(last[0, 0]))
        for i, q in enumerate(told):
            scores = [float(q @ k) / 0.7 for k in keys]
            each.append(math.log(sum(math.exp(s) for s in scores)) - scores[i])
    found = float(criterion({"net": net}, {"images": Batch(image=image)}, AT, "all").total)
    assert found == pytest.approx(sum(each) / len(each), abs=1e-5)


@pytest.mark.parametrize("loss", ["info_nce", "binary"])
def test_what_lies_below_is_learnt_on_synthetic_stripes(loss):
    torch.manual_seed(0)
    net = tiny_net(2)
    criterion = CPC(per_side=3, code=16, context=16, loss=loss).build({"net": net}, TASK)
    rate = torch.optim.Adam([*net.encoder.parameters(), *criterion.parameters()], 0.01)
    losses = []
    for _ in range(40):
        image = torch.randn(12, 3, 1, 1) + 0.1 * torch.randn(12, 3, 12, 12)  # each image has a colour of its own
        found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
        rate.zero_grad()
        found.total.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        losses.append(float(found.total.detach()))
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
