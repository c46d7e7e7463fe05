"""Slice heads: pooling over slices against hand-made numbers, in a network and in the feature cache."""

from __future__ import annotations

import pytest
import torch

from allograft.catalog import parts
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.functional.probabilities import probabilities
from allograft.nets.build import SLICEWISE, build_network
from allograft.nets.heads.instances import PooledInstances
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec

BINARY = Task(kind="binary", classes=("no", "yes"))
THREE = Task(kind="multiclass", classes=("a", "b", "c"))


def network(pool: str, task: Task = THREE, encoder: str = "resnet10_slice", dims: int = 3) -> Network:
    spec = NetSpec(encoder=encoder, dims=dims, width=0.125, pool=pool)
    net = build_network(spec, {task.head: task}, in_channels=1, seed=0, parts=parts(spec))
    with torch.no_grad():
        net.heads[task.head].linear.weight.mul_(100)
    return net.eval()


def toy(n: int, d: int, a: float, b: float) -> torch.Tensor:
    """Return sin(a i + b j + 0.1 i j), i and j from 1: numbers that anyone can make again."""
    i, j = torch.arange(1, n + 1).double()[:, None], torch.arange(1, d + 1).double()[None]
    return torch.sin(a * i + b * j + 0.1 * i * j)


@pytest.mark.parametrize("task", [BINARY, THREE], ids=["binary", "multiclass"])
def test_slice_mean_is_the_mean_of_the_slices_own_probabilities(task: Task) -> None:
    net, x = network("slice_mean", task), torch.randn(2, 1, 5, 16, 16)
    with torch.no_grad():
        got = probabilities(net(x).logits["label"], task.kind)
        single = [probabilities(net(x[:, :, d : d + 1]).logits["label"], task.kind) for d in range(5)]
    torch.testing.assert_close(got, torch.stack(single).mean(0), atol=1e-5, rtol=1e-4)


def test_slice_max_is_the_largest_logit_of_any_slice() -> None:
    net, x = network("slice_max"), torch.randn(2, 1, 5, 16, 16)
    with torch.no_grad():
        got = net(x).logits["label"]
        single = torch.stack([net(x[:, :, d : d + 1]).logits["label"] for d in range(5)])
    torch.testing.assert_close(got, single.amax(0))


def test_attention_equals_the_formula_written_out() -> None:
    head = PooledInstances(3, 2, pool=SLICEWISE["slice_attention"], kind="multiclass").double()
    h = torch.randn(4, 3, 6, dtype=torch.float64)
    z = []
    for case in h:
        score = [
            head.score.weight[0]
            @ (
                torch.tanh(head.value.weight @ x + head.value.bias)
                * torch.sigmoid(head.gate.weight @ x + head.gate.bias)
            )
            for x in case.T
        ]
        a = torch.stack(score).softmax(0)
        z.append(head.linear.weight @ (case * a).sum(1) + head.linear.bias)
    torch.testing.assert_close(head.over_instances(h), torch.stack(z))


def test_attention_gives_the_worked_example() -> None:
    """Five instances of three features; hidden layers without biases, computed elsewhere."""
    head = PooledInstances(3, 2, pool=SLICEWISE["slice_attention"], kind="multiclass").double()
    head.value, head.gate, head.score = (torch.nn.Linear(*s).double() for s in ((3, 2), (3, 2), (2, 1)))
    with torch.no_grad():
        for p in (head.value, head.gate, head.score):
            p.bias.zero_()
        head.value.weight.copy_(toy(3, 2, 0.5, 0.9).T)
        head.gate.weight.copy_(toy(3, 2, 0.4, 1.2).T)
        head.score.weight.copy_(torch.tensor([[0.6, -0.4]]))
        found = head.weights(toy(5, 3, 0.7, 0.2).T[None])[0]
    expected = torch.tensor([0.28518277, 0.26668433, 0.16489833, 0.12708502, 0.15614955]).double()
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_attention_weights_sum_to_one_and_know_no_order() -> None:
    head = PooledInstances(3, 2, pool=SLICEWISE["slice_attention"], kind="multiclass")
    h = torch.randn(2, 3, 6)
    torch.testing.assert_close(head.weights(h).sum(1), torch.ones(2))
    order = torch.randperm(6)
    torch.testing.assert_close(head.over_instances(h), head.over_instances(h[:, :, order]))
    torch.testing.assert_close(head.over_instances(h[:, :, :1]), head.linear(h[:, :, 0]))
    torch.testing.assert_close(head.over_instances(h), head.over_instances(h.repeat(1, 1, 2)))


@pytest.mark.parametrize("pool", ["slice_mean", "slice_max", "slice_attention"])
def test_one_suspicious_slice_moves_the_pooled_logit_more_than_the_global_mean_does(pool: str) -> None:
    """The mechanism acts: other numbers than the global mean, and every parameter learns."""
    net, plain, x = network(pool), network("mean"), torch.randn(2, 1, 4, 16, 16)
    assert not torch.allclose(net(x).logits["label"], plain(x).logits["label"], atol=1e-4)
    net(x).logits["label"].square().sum().backward()
    idle = [
        n for n, p in net.named_parameters() if (p.grad is None or not p.grad.any()) and n != "heads.label.score.bias"
    ]
    assert idle == []


@pytest.mark.parametrize("pool", ["mean", "slice_mean", "slice_attention"])
def test_compact_levels_of_the_feature_cache_give_the_same_logits(pool: str) -> None:
    net, x = network(pool), torch.randn(2, 1, 5, 16, 16)
    with torch.no_grad():
        levels = net.encode(x)
        small = net.compact(levels)
        torch.testing.assert_close(net.decode(small).logits["label"], net.decode(levels).logits["label"])
    assert small[0].shape[2:] == ((1, 1, 1) if pool == "mean" else (5, 1, 1))


def test_pooling_without_slices_is_refused() -> None:
    with pytest.raises(ConfigError, match="images have none"):
        network("slice_max", encoder="resnet10", dims=2)
    with pytest.raises(ConfigError, match="divides the depth by 32"):
        network("slice_max", encoder="resnet10")
    spec = NetSpec(encoder="resnet10_slice", dims=3, width=0.125, pool="slice_max", decoder="unet")
    task = Task(kind="segmentation", classes=("a", "b"))
    with pytest.raises(ConfigError, match="does nothing in a segmentation"):
        build_network(spec, {"label": task}, in_channels=1, seed=0, parts=parts(spec))
    with pytest.raises(ConfigError, match="regression"):
        PooledInstances(3, 1, pool=SLICEWISE["slice_mean"], kind="regression")
