"""Grad-CAM: equals CAM behind a global mean and a linear head, points at what the class is about, and says no."""

from __future__ import annotations

import pytest
import torch

from allograft.analysis.grad_cam import class_scores, grad_cam, heat_maps, share_inside
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task


def classifier(dims, kind="multiclass"):
    net = tiny_net(dims, outputs=tiny_task(kind).outputs).eval()
    net.tasks = {"label": tiny_task(kind)}
    return net


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_class_activation_map_up_to_the_number_of_positions(dims):
    net, images = classifier(dims), torch.randn(4, 3, *[16] * dims)
    classes = torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        features = net.encode(images)[-1]
    last = features.clone().requires_grad_()
    score = class_scores(net.heads["label"](last.flatten(2).mean(2), None), classes, "multiclass")
    (gradients,) = torch.autograd.grad(score.sum(), last)
    weights = net.heads["label"].linear.weight.detach()[classes]
    cam = torch.einsum("bk,bkn->bn", weights, features.flatten(2)).reshape(features[:, 0].shape).relu()
    positions = features[0, 0].numel()
    torch.testing.assert_close(grad_cam(features, gradients), cam / positions)
    found = heat_maps(net, images, classes, "label")
    assert found.shape == (4, *[16] * dims)
    assert found.min() >= 0
    torch.testing.assert_close(found.flatten(1).amax(1), (cam.flatten(1).amax(1) > 0).float())


@pytest.mark.parametrize("dims", [2, 3])
def test_points_at_the_synthetic_spot_that_the_class_is_about(dims):
    net = classifier(dims)
    with torch.no_grad():
        for block in (net.encoder.stem, net.encoder.layer1, net.encoder.layer2):
            block["conv"].weight.fill_(0.05)
            block["conv"].bias.fill_(-0.2)
        net.heads["label"].linear.weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 8))
    images = torch.zeros(1, 3, *[32] * dims)
    spot = (0, slice(None), *[slice(4, 12)] * dims)
    images[spot] = 5.0
    mask = torch.zeros(1, *[32] * dims, dtype=torch.bool)
    mask[(0, *[slice(0, 17)] * dims)] = True
    heat = heat_maps(net, images, torch.tensor([0]), "label")
    assert share_inside(heat, mask).item() > 0.95
    assert share_inside(heat, ~mask).item() < 0.05
    against = heat_maps(net, images, torch.tensor([1]), "label")
    assert not against.any(), "a class that everything speaks against has no heat"
    assert share_inside(against, mask).isnan().all()


def test_share_inside_by_hand():
    heat = torch.tensor([[[1.0, 0.5], [0.25, 0.25]]])
    assert share_inside(heat, torch.tensor([[[True, False], [True, False]]])).item() == pytest.approx(0.625)


def test_binary_asks_for_either_class():
    logits = torch.tensor([[2.0], [2.0]])
    assert class_scores(logits, torch.tensor([1, 0]), "binary").tolist() == [2.0, -2.0]


def test_asking_leaves_the_network_as_it_is():
    net, images = classifier(2), torch.randn(2, 3, 16, 16)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        heat_maps(net, images, torch.tensor([0, 1]), "label")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_refuses_a_network_that_segments_or_pools_in_its_own_way():
    net = tiny_net(2, outputs=3, decoder=True)
    net.tasks = {"label": Task(kind="segmentation", classes=("a", "b", "c"))}
    with pytest.raises(ConfigError, match="Grad-CAM"):
        heat_maps(net, torch.randn(1, 3, 16, 16), torch.tensor([0]), "label")
    net = classifier(2)
    net.encoder.strides = (1, 2, 0)
    with pytest.raises(ConfigError, match="Grad-CAM"):
        heat_maps(net, torch.randn(1, 3, 16, 16), torch.tensor([0]), "label")
