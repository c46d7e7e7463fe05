"""The feature cache: the same numbers as encoding, made once, keyed by what decides them. Synthetic data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.contracts import Budget, Optim
from allograft.core.errors import ConfigError, DataError
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_plan, tiny_task
from allograft.train.features import FeatureCache, cache_features, encoder_frozen, encoder_hash, feature_key
from allograft.train.loop import fit
from allograft.train.training import Training

TASK = tiny_task()
FROZEN = dict.fromkeys(["stem", "stage1", "stage2"], ((0, 0.0),))


def batches(dims=2):
    return [tiny_batch(dims, TASK, size=4, seed=seed) for seed in range(3)]


IDS = tuple(name for batch in batches() for name in batch.ids)


def cached(net, folder, found=None, dims=2, key="key"):
    return cache_features(net, batches(dims) if found is None else found, ids=IDS, folder=folder, key=key)


def test_frozen_means_frozen_for_all_steps_and_statistics():
    net = tiny_net(2)
    assert encoder_frozen(tiny_plan(net, FROZEN), 10)
    assert not encoder_frozen(tiny_plan(net), 10)
    later = tiny_plan(net, {**FROZEN, "stage2": ((0, 0.0), (6, 1.0))})
    assert not encoder_frozen(later, 10)
    assert encoder_frozen(later, 6)
    statistics = {"encoder.stem.norm.running_mean": ((0, 1.0),)}
    assert not encoder_frozen(tiny_plan(net, FROZEN).with_learns(statistics, tuning=""), 10)


def test_the_key_changes_with_every_tensor_of_the_encoder_and_with_the_data_only():
    net = tiny_net(2)
    keys = {encoder_hash(net)}
    for tensor in net.encoder.state_dict().values():
        tensor.flatten()[:1].add_(1)
        keys.add(encoder_hash(net))
    assert len(keys) == 1 + len(net.encoder.state_dict())
    before = encoder_hash(net)
    nn.init.zeros_(net.heads["label"].linear.weight)
    assert encoder_hash(net) == before
    assert (
        len(
            {
                feature_key(net),
                feature_key(net, "data"),
                feature_key(net, "data", "norm"),
                feature_key(net, "dat", "anorm"),
            }
        )
        == 4
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("decoder", [False, True])
def test_cached_levels_decode_to_the_same_logits(tmp_path, dims, decoder):
    net = tiny_net(dims, outputs=3, decoder=decoder)
    cache = cached(net, tmp_path, dims=dims)
    batch = batches(dims)[1]
    net.eval()
    out = net(cache.fill(batch).image).logits["label"]
    torch.testing.assert_close(out, net(batch.image).logits["label"])
    if not decoder:
        assert [level.shape for level in cache.levels] == [(12, 8, *[1] * dims)]


def test_a_finished_cache_is_read_and_not_made_again(tmp_path):
    net = tiny_net(2)
    first = cached(net, tmp_path)
    second = cached(net, tmp_path, iter(()))
    assert torch.equal(first.take(IDS)[0], second.take(IDS)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_broken_encoding_leaves_no_cache(tmp_path):
    net = tiny_net(2)
    with pytest.raises(DataError, match="expected 12 cases, the batches held 4"):
        cached(net, tmp_path, batches()[:1])
    with pytest.raises(DataError, match="in order"):
        cached(net, tmp_path, batches()[::-1])
    assert not list(tmp_path.iterdir())
    assert net.training


def test_other_cases_and_broken_folders_are_refused(tmp_path):
    net = tiny_net(2)
    cache = cached(net, tmp_path)
    with pytest.raises(DataError, match="case stranger is not in the feature cache"):
        cache.take(["stranger"])
    with pytest.raises(DataError, match="the key must name the data"):
        cache_features(net, batches(), ids=IDS[::-1], folder=tmp_path, key="key")
    (tmp_path / "key" / "level-0.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="cannot be read"):
        FeatureCache.open(tmp_path / "key")


def test_noise_in_the_encoder_is_refused(tmp_path):
    net = tiny_net(2)
    net.encoder.extra = nn.Dropout(0.1)
    with pytest.raises(ConfigError, match=r"encoder.extra drops values with probability 0.1"):
        cached(net, tmp_path)
    net.encoder.extra = nn.Dropout(0.0)
    cached(net, tmp_path)


def test_training_on_the_cache_equals_training_on_images(tmp_path):
    class Streams:
        def __init__(self, cache=None):
            self.cache = cache

        def at(self, step):
            batch = batches()[step % 3]
            return {"train": self.cache.fill(batch) if self.cache else batch}

    nets = [tiny_net(2, outputs=3), tiny_net(2, outputs=3)]
    for net, data in zip(nets, [Streams(), Streams(cached(nets[0], tmp_path))], strict=True):
        how = Training(plans={"net": tiny_plan(net, FROZEN)}, optim=Optim(), budget=Budget(steps=9), seed=0)
        fit({"net": net}, Supervised().build({"net": net}, TASK), data, how)
    for name, value in nets[0].state_dict().items():
        torch.testing.assert_close(nets[1].state_dict()[name], value)
