"""predict(): every case once, the same numbers each time, the network left as it was. Synthetic data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from allograft.core.errors import ConfigError, DataError, NumericsError
from allograft.infer.forward import predict
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_task


def material(kind="multiclass", dims=2):
    task = tiny_task(kind)
    found = [tiny_batch(dims, task, size=size, seed=size) for size in (4, 3)]
    ids = [name for batch in found for name in batch.ids]
    return task, tiny_net(dims, outputs=task.outputs), found, {name: f"patient-{name}" for name in ids}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_probabilities_belong_to_the_logits(kind, dims):
    task, net, found, groups = material(kind, dims)
    got = predict(net, found, task, groups=groups)
    assert got.logits.shape == (7, task.outputs)
    assert got.logits.dtype == np.float32
    wide = got.logits.astype(float)
    expected = {
        "multiclass": lambda: softmax(wide, axis=1),
        "binary": lambda: np.hstack([1 - expit(wide), expit(wide)]),
        "multilabel": lambda: expit(wide),
    }[kind]()
    np.testing.assert_allclose(got.probabilities, expected, atol=1e-12)
    assert got.ids == tuple(groups)
    assert got.groups[0] == f"patient-{got.ids[0]}"
    np.testing.assert_array_equal(got.targets, torch.cat([batch.targets["label"] for batch in found]).numpy())


def test_the_network_is_left_as_it_was_and_the_numbers_repeat():
    task, net, found, groups = material()
    net.train()
    net.encoder.get_submodule("stem").eval()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = (predict(net, found, task, groups=groups) for _ in range(2))
    np.testing.assert_array_equal(first.logits, second.logits)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert torch.is_grad_enabled()


def test_a_case_is_predicted_alike_in_any_batch():
    task, net, found, groups = material()
    alone = [
        replace(found[0], image=found[0].image[i : i + 1], targets={}, ids=found[0].ids[i : i + 1]) for i in range(4)
    ]
    together = predict(net, found[:1], task, groups=groups)
    np.testing.assert_allclose(predict(net, alone, task, groups=groups).logits, together.logits, atol=1e-5)


def test_absent_targets_are_minus_one():
    task, net, found, groups = material()
    found[0] = replace(found[0], present={"label": torch.tensor([True, False, True, True])})
    found[1] = replace(found[1], targets={}, present={})
    targets = predict(net, found, task, groups=groups).targets
    assert (targets == -1).tolist() == [False, True, False, False, True, True, True]
    task, net, found, groups = material("multilabel")
    holed = found[0].targets["label"].float()
    holed[2, 1] = float("nan")
    found[0] = replace(found[0], targets={"label": holed}, present={"label": torch.tensor([True, False, True, True])})
    targets = predict(net, found, task, groups=groups).targets
    assert (targets == -1).sum() == 4
    assert targets[2, 1] == -1


def test_soft_targets_count_as_their_largest():
    task, net, found, groups = material()
    found[0] = replace(found[0], targets={"label": torch.tensor([[0.1, 0.2, 0.7]] * 4)})
    assert predict(net, found, task, groups=groups).targets[:4].tolist() == [2] * 4


def test_what_cannot_be_told_apart_is_refused():
    task, net, found, groups = material()
    with pytest.raises(DataError, match="predicted twice"):
        predict(net, [found[0], found[0]], task, groups=groups)
    with pytest.raises(DataError, match="no group is given"):
        predict(net, found, task, groups={})
    with pytest.raises(DataError, match="7 cases and 4 ids"):
        predict(net, [found[0], replace(found[1], ids=())], task, groups=groups)
    with pytest.raises(ConfigError, match="regression"):
        predict(net, found, tiny_task("regression"), groups=groups)
    found[1].image[0] = float("nan")
    with pytest.raises(NumericsError, match=found[1].ids[0]):
        predict(net, found, task, groups=groups)
