"""Rotation: the turns are what the paper lists, chance is chance, and the encoder learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.pretext import Pretext
from allograft.objectives.rotation import Rotation, middle, turn
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))


LISTED = {
    2: [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)],
    3: [(0, 0, 1), *((k, 0, 1) for k in (1, 2, 3)), *((k, 1, 2) for k in (3, 2, 1)), *((k, 0, 2) for k in (3, 2, 1))],
}
"""Quarter turns and plane of each class, as the released code has them."""


def test_the_ten_turns_of_a_cube_are_different_proper_and_undone_by_their_inverses():
    cube = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    made = [turn(cube, y) for y in range(10)]
    assert len({tuple(x.flatten().tolist()) for x in made}) == 10
    for y, (k, a, b) in enumerate(LISTED[3]):
        assert torch.equal(torch.rot90(made[y], -k, (a + 2, b + 2)), cube)
        # A proper rotation keeps the handedness of three marked corners; a reflection would not.
        corners = [
            (made[y][0, 0] == cube[0, 0][place]).nonzero()[0].float() - 1 for place in ((2, 1, 1), (1, 2, 1), (1, 1, 2))
        ]
        assert torch.linalg.det(torch.stack(corners)) == pytest.approx(1.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_images_are_turned_as_listed_and_the_loss_is_numpys_cross_entropy(dims):
    net = _net(dims).double().eval()
    criterion = Rotation().build({"net": net}, TASK)
    image = torch.randn(40, 3, *[8] * (dims - 1), 10, dtype=torch.float64)
    torch.manual_seed(3)
    shown, y = criterion.turned(image)
    assert len(set(y.tolist())) == len(LISTED[dims]), "every class is drawn"
    for one, whole, k in zip(shown, image, y.tolist(), strict=True):
        turns_, a, b = LISTED[dims][k]
        assert np.array_equal(one.numpy(), np.rot90(whole[..., 1:9].numpy(), turns_, (a + 1, b + 1)))
    torch.manual_seed(3)
    found = criterion({"net": net}, {"images": Batch(image=image)}, AT, "all")
    logits = net(shown).logits["rotation"].detach().numpy()
    assert float(found.total.detach()) == pytest.approx(-log_softmax(logits, 1)[np.arange(40), y].mean(), abs=1e-6)
    assert float(found.parts["accuracy"]) == pytest.approx((logits.argmax(1) == y.numpy()).mean())


def test_all_turns_show_the_same_part_of_a_longer_image():
    image = torch.rand(1, 1, 4, 7)
    assert torch.equal(middle(image), image[..., 1:5])


def test_images_of_a_single_row_are_refused():
    with pytest.raises(ConfigError, match=r"\(1, 7\) look the same however they are turned"):
        middle(torch.rand(2, 3, 1, 7))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_learns_to_tell_turns_of_synthetic_ramps(dims):
    torch.manual_seed(0)
    net, objective = _net(dims), Rotation()
    assert isinstance(objective, Pretext)
    criterion = objective.build({"net": net}, TASK)
    ramp = torch.linspace(-1, 1, 8).reshape(-1, *[1] * (dims - 1)).expand(*[8] * dims)
    tilt = torch.linspace(-0.5, 0.5, 8).reshape(*[1] * (dims - 1), -1)
    images = (ramp**2 * (ramp > 0) + tilt)[None, None].repeat(32, 3, *[1] * dims)
    images = images + 0.05 * torch.randn(32, 3, *[8] * dims)
    rate = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(60):
        loss = criterion({"net": net}, {"images": Batch(image=images)}, AT, "all").total
        rate.zero_grad()
        loss.backward()
        assert any(bool(p.grad.any()) for p in net.encoder.parameters() if p.grad is not None)
        rate.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def _net(dims):
    (task,) = Rotation().tasks(dims).values()
    return _named(tiny_net(dims, outputs=task.outputs), task)


def _named(net, task):
    net.heads["rotation"] = net.heads.pop("label") if "label" in net.heads else next(iter(net.heads.values()))
    net.tasks = {task.head: task}
    return net
