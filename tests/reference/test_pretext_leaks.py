"""Labels of pretext tasks do not leak: on noise around a constant a trained task is at chance, on marked images not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allograft.contracts import Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.transforms.augment import Augment
from allograft.objectives.cpc import CPC
from allograft.objectives.jigsaw import Jigsaw
from allograft.objectives.patch_grid import cells
from allograft.objectives.relative_patch_location import RelativePatchLocation
from allograft.objectives.rotation import Rotation
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(0, 10), Task(kind="binary", classes=("no", "yes"))
TASKS = {
    "rotation": (Rotation(), 8),
    "relative_patch_location": (RelativePatchLocation(hidden=32), 15),
    "jigsaw": (Jigsaw(permutations=5, hidden=32), 15),
    "cpc": (CPC(per_side=2, code=16, context=16), 10),
}
STEPS, BATCH, JUDGED = 40, 16, 16


def noise(count, size, dims):
    """Return noise around a constant."""
    return 0.5 + 0.1 * torch.randn(count, 3, *[size] * dims)


def ramps(count, size, dims):
    """Return noise in which each channel grows along another axis: places and turns can be told."""
    ramp = torch.linspace(-1, 1, size)
    shapes = [[-1 if axis == way % dims else 1 for axis in range(dims)] for way in range(3)]
    return noise(count, size, dims) + torch.stack([ramp.reshape(shape).expand(*[size] * dims) for shape in shapes])


def colours(count, size, dims):
    """Return noise around a colour of each image's own: which patches are of one image can be told."""
    return noise(count, size, dims) + 2 * torch.randn(count, 3, *[1] * dims)


def held_out(objective, size, dims, images, change=lambda criterion: None, steps=STEPS):
    """Train, and return the accuracy on other images and the most that chance gives (four deviations)."""
    torch.manual_seed(5)
    tasks = objective.tasks(dims)
    net = tiny_net(dims, outputs=max((task.outputs for task in tasks.values()), default=2))
    for name in tasks:
        net.heads[name] = net.heads.pop("label")
    criterion = objective.build({"net": net}, TASK)
    change(criterion)
    rate = torch.optim.Adam([*net.parameters(), *criterion.parameters()], 0.01)
    for _ in range(steps):
        rate.zero_grad()
        criterion({"net": net}, {"images": Batch(image=images(BATCH, size, dims))}, AT, "all").total.backward()
        rate.step()
    net.eval(), criterion.eval()
    with torch.no_grad():
        batches = [{"images": Batch(image=images(BATCH, size, dims))} for _ in range(JUDGED)]
        parts = [criterion({"net": net}, batch, AT, "all").parts for batch in batches]
    chance = float(parts[0]["chance"])
    deviation = (chance * (1 - chance) / (JUDGED * BATCH)) ** 0.5
    return sum(float(p["accuracy"]) for p in parts) / JUDGED, chance + 4 * deviation


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TASKS)
def test_synthetic_noise_around_a_constant_gives_chance(name, dims):
    accuracy, most = held_out(*TASKS[name], dims, noise)
    assert accuracy <= most


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TASKS)
def test_the_same_check_says_no_where_synthetic_images_are_marked(name, dims):
    accuracy, most = held_out(*TASKS[name], dims, colours if name == "cpc" else ramps)
    assert accuracy > most


def test_the_same_check_says_no_where_patches_overlap():
    """Patches of CPC that share elements find their neighbour by these: why they may not."""

    def overlap(criterion):
        criterion.patches = lambda image: torch.stack([image[:, :, row : row + 8] for row in (0, 1)] * 2, 1)[
            :, [0, 2, 1, 3]
        ]

    objective = CPC(per_side=2, code=16, context=16)
    accuracy, most = held_out(objective, 10, 2, noise, overlap, steps=120)
    assert accuracy > most


@pytest.mark.parametrize("dims", [2, 3])
def test_views_of_synthetic_noise_do_not_tell_how_they_were_turned(dims):
    """Cutting, stretching and smoothing leave no grain that tells one axis from another."""
    augment = Augment(preset="views")

    def views(count, size, dims):
        images = noise(count, size, dims)
        rng = np.random.default_rng(int(torch.randint(10**6, ())))
        return augment.apply_batch(images, [augment.draw(rng, tuple(images.shape[1:])) for _ in range(count)])

    accuracy, most = held_out(Rotation(), 8, dims, views)
    assert accuracy <= most


@pytest.mark.parametrize("dims", [2, 3])
def test_no_element_of_a_patch_above_is_in_one_below(dims):
    image = torch.arange(float(16**dims)).reshape(1, 1, *[16] * dims)
    criterion = CPC(per_side=3).build({"net": tiny_net(dims, in_channels=1)}, TASK)
    for _ in range(3):
        assert len(criterion.patches(image).unique()) == criterion.patches(image).numel()
    assert cells(image, 3, 1).shape == criterion.patches(image).shape
