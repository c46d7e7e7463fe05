"""Rotation: the turns are what the paper lists, chance is chance, and the encoder learns."""

from __future__ import annotations

import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.objectives.pretext import Pretext
from allograft.objectives.rotation import Rotation, middle, turn, turns
from allograft.testing.tiny import tiny_net

AT = Progress(0, 10)


def test_the_ten_turns_of_a_cube_are_different_proper_and_undone_by_their_inverses():
    cube = torch.arange(27.0).reshape(1, 3, 3, 3)
    made = [turn(cube, y) for y in range(10)]
    assert len({tuple(x.flatten().tolist()) for x in made}) == 10
    for y, (k, (a, b)) in enumerate(turns(3)):
        assert torch.equal(torch.rot90(made[y], -k, (a + 1, b + 1)), cube)
        # A proper rotation keeps the handedness of three marked corners; a reflection would not.
        corners = [
            (made[y][0] == cube[0][place]).nonzero()[0].float() - 1 for place in ((2, 1, 1), (1, 2, 1), (1, 1, 2))
        ]
        assert torch.linalg.det(torch.stack(corners)) == pytest.approx(1.0)


def test_in_two_dimensions_the_turns_are_those_of_rot90():
    image = torch.rand(2, 5, 5)
    for k in range(4):
        assert torch.equal(turn(image, k), torch.rot90(image, k, (1, 2)))


def test_all_turns_show_the_same_part_of_a_longer_image():
    image = torch.rand(1, 1, 4, 7)
    assert torch.equal(middle(image), image[..., 1:5])


@pytest.mark.parametrize("dims", [2, 3])
def test_noise_around_a_constant_gives_chance_on_synthetic_images(dims):
    net, objective = _net(dims), Rotation()
    criterion = objective.build({"net": net}, Task(kind="binary", classes=("no", "yes")))
    noise = 0.5 + 0.01 * torch.randn(400, 3, *[8] * dims)
    found = criterion({"net": net.eval()}, {"images": Batch(image=noise)}, AT, "all")
    chance = float(found.parts["chance"])
    assert chance == pytest.approx(1 / len(turns(dims)))
    assert float(found.parts["accuracy"]) < chance + 4 * (chance * (1 - chance) / 400) ** 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_learns_to_tell_turns_of_synthetic_ramps(dims):
    torch.manual_seed(0)
    net, objective = _net(dims), Rotation()
    assert isinstance(objective, Pretext)
    criterion = objective.build({"net": net}, Task(kind="binary", classes=("no", "yes")))
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
