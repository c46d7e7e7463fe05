"""Localisation loss: centroids of cuboids, SciPy's Huber, what may not matter, and that it pulls the right way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from allograft.contracts import Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.metrics.segmentation.localisation_error import LocalisationError
from allograft.nets.network import Output
from allograft.objectives.localisation import Localisation, centroid_loss, soft_centroids
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_task

TASK = Task(kind="segmentation", classes=("background", "L1", "L2"))


def cuboids(shape: tuple[int, ...], *corners: tuple[int, ...], side: int = 3) -> torch.Tensor:
    """Return labels 1, 2, ... of cubes that begin at the corners."""
    labels = torch.zeros(shape, dtype=torch.long)
    for value, corner in enumerate(corners, start=1):
        labels[tuple(slice(c, c + side) for c in corner)] = value
    return labels


def batch_of(*labels: torch.Tensor, spacing: tuple[float, ...] | None = None) -> Batch:
    target = torch.stack(labels)
    return Batch(
        image=torch.zeros(len(target), 1, *target.shape[1:]),
        targets={"label": target},
        present={"label": torch.ones(len(target)).bool()},
        spacing=None if spacing is None else torch.tensor([spacing] * len(target)),
    )


def output(logits: torch.Tensor) -> Output:
    return Output((), torch.zeros(len(logits), 1), {"label": logits})


@pytest.mark.parametrize("dims", [2, 3])
def test_the_centroid_of_a_cuboid_is_its_centre(dims: int) -> None:
    labels = cuboids((9, 10, 11)[:dims], (2,) * dims, (5,) * dims)
    mass = torch.nn.functional.one_hot(labels, 3).movedim(-1, 0)[None].float()
    torch.testing.assert_close(soft_centroids(mass[:, 1:]), torch.tensor([[[3.0] * dims, [6.0] * dims]]))


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_scipys_centres_of_mass_and_huber(dims: int) -> None:
    shape, spacing, delta = (7, 8, 9)[:dims], (2.0, 0.5, 1.5)[:dims], 1.2
    logits = torch.randn(2, 3, *shape)
    batch = batch_of(cuboids(shape, (0,) * dims, (4,) * dims), cuboids(shape, (3,) * dims), spacing=spacing)
    p = logits.softmax(1).numpy().astype(np.float64)
    found = []
    for i, labels in enumerate(batch.targets["label"].numpy()):
        for c in range(1, 3):
            if (labels == c).any():  # the second case holds L1 only
                gap = np.subtract(ndimage.center_of_mass(p[i, c]), ndimage.center_of_mass(labels == c)) * spacing
                found.append(special.huber(delta, gap).mean())
    assert len(found) == 3
    got = centroid_loss(output(logits), batch, TASK, delta=delta)
    assert float(got) == pytest.approx(np.mean(found), rel=1e-5)


def test_the_order_of_classes_does_not_matter_and_the_spacing_does() -> None:
    logits, labels = torch.randn(2, 3, 7, 8), cuboids((7, 8), (0, 0), (3, 4))
    swapped = torch.tensor([0, 2, 1])[labels]
    one = centroid_loss(output(logits), batch_of(labels, labels), TASK, delta=1)
    two = centroid_loss(output(logits[:, [0, 2, 1]]), batch_of(swapped, swapped), TASK, delta=1)
    torch.testing.assert_close(one, two)
    wide = centroid_loss(output(logits), batch_of(labels, labels, spacing=(3.0, 1.0)), TASK, delta=1)
    assert float(wide) > float(one) + 0.1


def test_elements_outside_the_image_and_absent_cases_take_no_part() -> None:
    logits, labels = torch.randn(2, 3, 7, 8), cuboids((7, 8), (0, 0), (3, 4))
    edged = torch.cat([labels, torch.full((2, 8), -1)])
    padded = torch.cat([logits, torch.randn(2, 3, 2, 8)], dim=2)
    one = centroid_loss(output(logits), batch_of(labels, labels), TASK, delta=1)
    torch.testing.assert_close(one, centroid_loss(output(padded), batch_of(edged, edged), TASK, delta=1))
    half = replace(batch_of(labels, labels), present={"label": torch.tensor([True, False])})
    alone = centroid_loss(output(logits[:1]), batch_of(labels), TASK, delta=1)
    torch.testing.assert_close(alone, centroid_loss(output(logits), half, TASK, delta=1))
    nothing = batch_of(torch.zeros(7, 8).long(), torch.zeros(7, 8).long())
    assert float(centroid_loss(output(logits), nothing, TASK, delta=1)) == 0


def test_the_gradient_moves_probability_to_the_true_place() -> None:
    """The mechanism acts: from a blob in the wrong corner, steps on the centroid alone bring the error down."""
    truth, wrong = cuboids((16, 16), (11, 11)), cuboids((16, 16), (1, 2))
    field = torch.nn.functional.one_hot(wrong, 3).movedim(-1, 0)[None].float() * 4
    field.requires_grad_(True)
    batch, errors = batch_of(truth, spacing=(1.0, 1.0)), []
    optimizer = torch.optim.Adam([field], lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = centroid_loss(output(field), batch, TASK, delta=5)
        loss.backward()
        optimizer.step()
        found = soft_centroids(field.detach().softmax(1)[:, 1:2])[0, 0]
        errors.append(float((found - torch.tensor([12.0, 12.0])).norm()))
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_objective_adds_the_term_with_its_weight(dims: int) -> None:
    task = tiny_task("segmentation")
    net = tiny_net(dims, outputs=task.outputs, decoder=True)
    batch, at = {"train": tiny_batch(dims, task)}, Progress(0, 10)
    plain, none, some = (
        float(objective.build({"net": net}, task)({"net": net}, batch, at, "all").total.detach())
        for objective in (Localisation(weight=0), Localisation(weight=0.5), Localisation(weight=1))
    )
    assert none - plain == pytest.approx((some - plain) / 2, rel=1e-4)
    assert some > plain
    with pytest.raises(ConfigError, match="segmentation"):
        Localisation().build({"net": net}, tiny_task("multiclass"))


@pytest.mark.parametrize("dims", [2, 3])
def test_localisation_error_of_shifted_cuboids_is_the_shift_in_mm(dims: int) -> None:
    """Two structures of one class, each shifted along the first axis; numbering and order do not matter."""
    spacing = (3.0, 1.0, 0.5)[-dims:]
    truth = cuboids((20,) * dims, (2,) * dims, (12,) * dims) > 0
    moved = cuboids((20,) * dims, (13, *(12,) * (dims - 1)), (4, *(2,) * (dims - 1))) > 0
    error = LocalisationError()
    assert error.value(moved.numpy(), truth.numpy(), spacing) == pytest.approx((1 + 2) / 2 * spacing[0])
    assert error.value(truth.numpy(), truth.numpy(), spacing) == 0


def test_a_miss_counts_as_the_diagonal_and_never_improves_the_error() -> None:
    truth = (cuboids((20, 20), (2, 2), (12, 12)) > 0).numpy()
    both = (cuboids((20, 20), (2, 9), (12, 5)) > 0).numpy()
    one, none = (cuboids((20, 20), (2, 2)) > 0).numpy(), np.zeros((20, 20), bool)
    extra = (cuboids((20, 20), (2, 2), (12, 12), (2, 15)) > 0).numpy()
    values = [LocalisationError().value(each, truth, (1, 1)) for each in (truth, extra, both, one, none)]
    diagonal = 20 * 2**0.5
    assert values[0] == 0
    assert values[1] == pytest.approx(diagonal / 3)
    assert values[2] == pytest.approx(7)
    assert values[3] == pytest.approx(diagonal / 2)
    assert values[4] == pytest.approx(diagonal)
    specks = truth.copy()
    specks[19, 0] = True
    assert LocalisationError().value(specks, truth, (1, 1)) > 0
    assert LocalisationError(min_mm=2).value(specks, truth, (1, 1)) == 0
