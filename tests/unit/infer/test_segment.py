"""segment(): arg-max of mean probabilities, streamed. Synthetic images and networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from allograft.core.errors import ConfigError
from allograft.data.patches import Patches
from allograft.infer import coverage
from allograft.infer.segment import segment
from allograft.testing.dense import dense_net


def picture(shape, seed=0):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) * 2


def logits_of(net, image, patches):
    inferer = SlidingWindowInferer(patches.size, 2, patches.overlap, mode="gaussian", cval=float(image.min()))
    with torch.no_grad():
        return inferer(image[None], lambda x: net(x).logits["label"])[0]


@pytest.mark.parametrize("shape", [(31, 22), (14, 5, 19)])
@pytest.mark.parametrize("features", [2, 9])
def test_labels_are_the_arg_max_of_monais_logits_synthetic(shape, features):
    net, image, patches = dense_net(len(shape), features=features), picture(shape), Patches(size=(8,) * len(shape))
    got = segment([net], image, head="label", patches=patches)
    assert got.dtype == np.uint8
    assert len(np.unique(got)) > 1
    np.testing.assert_array_equal(got, logits_of(net, image, patches).argmax(0).numpy())


@pytest.mark.parametrize("budget", [0, 2**30])
def test_several_networks_give_the_arg_max_of_mean_probabilities_synthetic(budget, monkeypatch):
    monkeypatch.setattr(coverage, "BUDGET", budget)
    nets = [dense_net(3, features=features, seed=seed) for seed, features in enumerate((2, 3, 6))]
    for value in nets[2].heads["label"].parameters():
        value.data *= 5  # a network that is surer than the others must not outvote them by its logits
    image, patches = picture((14, 20, 19)), Patches(size=(8, 8, 8))
    logits = torch.stack([logits_of(net, image, patches) for net in nets])
    expected = logits.softmax(1).mean(0).argmax(0).numpy()
    got = segment(nets, image, head="label", patches=patches)
    np.testing.assert_array_equal(got, expected)
    assert (got != logits.mean(0).argmax(0).numpy()).any(), "the mean of logits would be another answer"


def test_more_than_256_classes_are_int16_synthetic():
    net, image, patches = dense_net(2, outputs=300, features=3), picture((20, 20)), Patches(size=(8, 8))
    got = segment([net], image, head="label", patches=patches)
    assert got.dtype == np.int16
    np.testing.assert_array_equal(got, logits_of(net, image, patches).argmax(0).numpy())


def test_networks_that_do_not_belong_together_are_refused_synthetic():
    image, patches = picture((20, 20)), Patches(size=(8, 8))
    with pytest.raises(ConfigError, match="at least one network"):
        segment([], image, head="label", patches=patches)
    with pytest.raises(ConfigError, match=r"got \[3, 4\]"):
        segment([dense_net(2), dense_net(2, outputs=4)], image, head="label", patches=patches)
    with pytest.raises(ConfigError, match=r"2 or more"):
        segment([dense_net(2, outputs=1)], image, head="label", patches=patches)
