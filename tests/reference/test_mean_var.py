"""MeanVar: the moments of each layer are kept, nothing of the arrangement is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from allograft.starts.mean_var import MeanVar
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights
from hand_loop import snapshot
from tiny_source import tiny_source, trained_net

WIDE = (8, 96, 128)
KERNELS = ("layer1.conv.weight", "layer2.conv.weight")


def started(start: MeanVar, source: SourceWeights, dims: int, seed: int = 5) -> dict[str, torch.Tensor]:
    net = tiny_net(dims, widths=WIDE)
    apply(start.plan(net, source), net, source, seed=seed)
    return snapshot(net)


@pytest.mark.parametrize("dims", [2, 3])
def test_moments_within_4_standard_errors_and_the_law_is_normal(dims: int, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(dims, widths=WIDE))
    state = started(MeanVar(), source, dims)
    for name in KERNELS:
        new, old = (t.double().numpy().ravel() for t in (state[f"encoder.{name}"], source[name]))
        m, v, n = old.mean(), old.var(), new.size
        assert abs(new.mean() - m) < 4 * np.sqrt(v / n)
        assert abs(new.var() - v) < 4 * v * np.sqrt(2 / n)
        assert stats.kstest((new - m) / np.sqrt(v), "norm").pvalue > 1e-4


def test_nothing_of_the_arrangement_is_kept(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, widths=WIDE))
    state = started(MeanVar(), source, 2)
    for name in KERNELS:
        new, old = state[f"encoder.{name}"].ravel(), source[name].ravel()
        r = np.corrcoef(new.numpy(), old.numpy())[0, 1]
        assert abs(r) < 4 / np.sqrt(new.numel())
        assert not bool((new == old).any())


def test_two_seeds_draw_two_networks_with_the_same_moments(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, widths=WIDE))
    a, b = (started(MeanVar(), source, 2, seed=s)["encoder.layer2.conv.weight"].ravel() for s in (1, 2))
    assert abs(np.corrcoef(a.numpy(), b.numpy())[0, 1]) < 4 / np.sqrt(a.numel())
    assert float(a.std() / b.std()) == pytest.approx(1, rel=0.02)


def test_from_2d_to_3d_a_layer_s_output_keeps_its_variance(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, widths=WIDE))
    state = started(MeanVar(), source, 3)
    old, new = source["layer2.conv.weight"], state["encoder.layer2.conv.weight"]
    assert float(new.var() * new[0].numel() / (old.var() * old[0].numel())) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("norm", ["identity", "sample", "copy"])
@pytest.mark.parametrize("dims", [2, 3])
def test_norm_layers_start_as_asked_and_statistics_are_never_drawn(norm: str, dims: int, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(dims, widths=WIDE))
    state = started(MeanVar.model_validate({"norm": norm}), source, dims)
    for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        new, old = state[f"encoder.layer2.norm.{key}"], source[f"layer2.norm.{key}"]
        built = 1 if key in {"weight", "running_var"} else 0
        drawn = norm == "sample" and key in {"weight", "bias"}
        assert bool((new == built).all()) == (norm != "copy" and not drawn)
        assert bool((new == old).all()) == (norm == "copy")
    assert all(bool((v > 0).all()) for name, v in state.items() if name.endswith("running_var"))
