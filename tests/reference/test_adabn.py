"""AdaBN: NumPy's moments, limits of the mixture, and answers that come back under a synthetic change of contrast."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from allograft.contracts import Lab, Started
from allograft.core.errors import ConfigError, DataError
from allograft.nets.batch_norms import batch_norms, blend, restate, statistics
from allograft.nets.network import Network
from allograft.procedures.adabn import AdaBN
from allograft.testing.procedures import FakeLab
from allograft.testing.tiny import tiny_net


class Line(nn.Module):
    """Hands the numbers of a row to one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def test_the_worked_numbers_mean_2_5_buffer_variance_1_6667_normalising_variance_1_25() -> None:
    net, x = Line(), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    seen: list[torch.Tensor] = []
    net.norm.register_forward_hook(lambda _module, _given, out: seen.append(out))
    restate(cast("Network", net), [x])
    assert float(net.norm.running_mean) == 2.5
    assert float(net.norm.running_var) == pytest.approx(5 / 3)
    torch.testing.assert_close(seen[0], (x - 2.5) / 1.25**0.5)  # while measured, by the batch's own biased variance
    assert net.norm.momentum == 0.1
    assert net.training
    assert net.norm.training


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_numpys_moments_of_what_the_layer_sees(dims: int) -> None:
    net = tiny_net(dims, seed=3)
    images = torch.randn(5, 3, *[8] * dims) * 3 + 2
    restate(net, [images])
    stem = net.encoder.stem
    seen = stem["conv"](images).detach().double().transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(stem["norm"].running_mean.numpy(), seen.mean(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stem["norm"].running_var.numpy(), seen.var(1, ddof=1), rtol=1e-4)
    parts = [images[:2], images[2:4]]
    restate(net, parts)
    each = [stem["conv"](x).detach().transpose(0, 1).flatten(1) for x in parts]
    torch.testing.assert_close(stem["norm"].running_mean, torch.stack([x.mean(1) for x in each]).mean(0))
    torch.testing.assert_close(stem["norm"].running_var, torch.stack([x.var(1) for x in each]).mean(0))


@pytest.mark.parametrize("decoder", [False, True])
def test_no_weight_moves_modes_stay_and_chance_plays_no_part(decoder: bool) -> None:
    net = tiny_net(2, decoder=decoder)
    net.heads["label"] = _Noisy(net.heads["label"])
    net.train()
    net.encoder.stem["norm"].training = False  # as a plan freezes it
    weights = {name: p.clone() for name, p in net.named_parameters()}
    before = statistics(net)
    images = [torch.randn(4, 3, 8, 8) for _ in range(3)]
    restate(net, images)
    once = statistics(net)
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())
    assert all(not torch.equal(value, before[name]) for name, value in once.items())
    assert not net.encoder.stem["norm"].training
    assert net.heads["label"].training
    restate(net, images)
    assert all(torch.equal(value, once[name]) for name, value in statistics(net).items())


class _Noisy(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pooled: torch.Tensor, decoded: torch.Tensor | None) -> torch.Tensor:
        assert not self.training, "dropout would be at work"
        return self.inner(pooled, decoded)


@pytest.mark.parametrize(("share", "want"), [(0.0, 1.0), (0.25, 2.0), (1.0, 5.0)])
def test_the_mixture_is_between_what_was_and_what_is(share: float, want: float) -> None:
    net = tiny_net(3)
    for layer in batch_norms(net).values():
        layer.running_mean.fill_(1.0)
        layer.running_var.fill_(1.0)
    before = statistics(net)
    for layer in batch_norms(net).values():
        layer.running_mean.fill_(5.0)
        layer.running_var.fill_(5.0)
    blend(net, before, share)
    assert all(bool((value == want).all()) for value in statistics(net).values())


def test_nothing_to_measure_on_and_a_single_value_are_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match="there is none"):
        restate(tiny_net(2), [])
    with pytest.raises(DataError, match="at least two cases"):
        restate(tiny_net(2, widths=(4, 4)), [torch.randn(1, 3, 1, 1)])


@dataclass
class ImageLab(FakeLab):
    """A lab whose target images are given; training fits the head to the source."""

    given: torch.Tensor | None = None
    kind: str = "batch"
    trained: Network | None = None

    def start(self, **settings) -> Started:
        started = super().start(**settings)
        if self.kind == "none":
            return Started(tiny_net(self.dims, outputs=1, norm="none"), started.plan)
        return started

    def train(self, stage, started, **settings) -> Network:
        net = super().train(stage, started, **settings)
        self.trained = copy.deepcopy(net)
        return net

    def restate(self, net, cohort, *, passes=1) -> None:
        self.restated.append((cohort.ids, passes))
        restate(net, [self.given] * passes)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_stage_with_all_steps_then_the_targets_images_and_no_weight_of_the_source_is_lost(dims: int) -> None:
    lab = FakeLab(dims)
    net = AdaBN(passes=2).run(cast("Lab", lab))
    (stage,) = lab.asked
    assert (stage.stage, stage.share, stage.objective.name) == ("source", 1.0, "supervised")
    assert lab.restated == [(lab.cohorts["target"].ids, 2)]
    still = ImageLab(dims, given=torch.randn(4, 3, *[8] * dims))
    same = AdaBN(mix=0).run(cast("Lab", still))
    for name, value in same.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, still.trained.state_dict()[name]), name
    moved = dict(net.named_parameters())
    assert all(torch.equal(p, moved[name]) for name, p in lab.done["source"].named_parameters())


def test_a_network_without_batch_norm_and_a_study_without_target_are_refused() -> None:
    lab = ImageLab(kind="none")
    with pytest.raises(ConfigError, match="no batch normalisation"):
        AdaBN().run(cast("Lab", lab))
    assert not lab.asked
    alone = FakeLab()
    alone.cohorts = {role: cohort for role, cohort in alone.cohorts.items() if role != "target"}
    with pytest.raises(ConfigError, match="shift"):
        AdaBN().run(cast("Lab", alone))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_mechanism_acts_a_synthetic_change_of_contrast_is_undone(dims: int) -> None:
    """Of a pure scale, which padding with zeros shares, nothing is left; half of the mixture leaves something."""
    source = torch.randn(12, 3, *[8] * dims, generator=torch.Generator().manual_seed(0))
    target = 0.4 * source
    far = {}
    for mix in (0.5, 1.0):
        lab = ImageLab(dims, given=target)
        lab.train = _measured_on(lab, source)
        net = AdaBN(mix=mix).run(cast("Lab", lab)).eval()
        with torch.no_grad():
            want = lab.trained.eval()(source).logits["label"]
            far[0.0] = float((lab.trained(target).logits["label"] - want).abs().mean())
            far[mix] = float((net(target).logits["label"] - want).abs().mean())
    assert far[1.0] < 1e-3 * far[0.0]
    assert far[1.0] < far[0.5] < far[0.0]


def _measured_on(lab: ImageLab, images: torch.Tensor):
    def train(stage, started, **settings) -> Network:
        restate(started.net, [images])
        return ImageLab.train(lab, stage, started, **settings)

    return train
