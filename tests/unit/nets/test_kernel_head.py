"""A network with anchors has a kernel head: buffers alone, kept in a bundle, differentiable, not a recipe's to set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allograft.catalog import parts
from allograft.infer.bundle import load_bundle
from allograft.nets.heads.kernel import KernelHead
from allograft.nets.spec import NetSpec
from allograft.study.recipe import Recipe
from random_bundles import random_bundle


@pytest.mark.parametrize("dims", [2, 3])
def test_it_comes_back_from_a_bundle_bit_by_bit(dims: int, tmp_path: Path) -> None:
    folder = random_bundle(tmp_path / "net", kind="multiclass", dims=dims, anchors=5)
    net, bundle = load_bundle(folder, parts)
    head = net.heads["label"]
    assert isinstance(head, KernelHead)
    assert bundle.net.anchors == 5
    assert head.get_buffer("dual").shape == (5, 3)
    assert head.get_buffer("dual").std() > 0
    again, _ = load_bundle(folder, parts)
    x = torch.randn(2, 1, *[16] * dims)
    assert torch.equal(net(x).logits["label"], again(x).logits["label"])


def test_its_logits_are_the_kernel_sum_written_by_loops() -> None:
    rng, head = np.random.default_rng(0), KernelHead(4, 2, 3)
    centre, scale, bias = rng.normal(size=4), rng.uniform(0.5, 2, 4), rng.normal(size=2)
    anchors, dual, x = rng.normal(size=(3, 4)), rng.normal(size=(3, 2)), rng.normal(size=(5, 4))
    values = {"centre": centre, "scale": scale, "anchors": anchors, "gamma": 0.3, "dual": dual, "bias": bias}
    head.write(**{name: torch.as_tensor(value) for name, value in values.items()})
    z = (x - centre) / scale
    expected = [
        bias + sum(np.exp(-0.3 * ((one - a) ** 2).sum()) * d for a, d in zip(anchors, dual, strict=True)) for one in z
    ]
    given = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    found = head(given, None)
    assert found.detach().numpy() == pytest.approx(np.array(expected), abs=1e-5)
    found.sum().backward()
    assert given.grad is not None
    assert given.grad.abs().max() > 0, "heat maps need the gradient"


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(AssertionError, match="anchors"):
        KernelHead(4, 2, 3).write(
            centre=torch.zeros(4),
            scale=torch.ones(4),
            anchors=torch.zeros(2, 4),
            gamma=torch.ones(()),
            dual=torch.zeros(3, 2),
            bias=torch.zeros(2),
        )


def test_a_recipe_cannot_ask_for_anchors() -> None:
    with pytest.raises(ValidationError, match=r"net\.anchors is set by procedures"):
        Recipe(name="x", net=NetSpec(encoder="cbr_tiny", anchors=5))
