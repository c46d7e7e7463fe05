"""SCGM: the paper's counts; equal to its formula written plainly with torch's functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.decoders.same import Same
from allograft.nets.encoders.scgm import SCGM
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Network, parameter_count


def segmenter(dims: int = 2, *, width: float = 1.0) -> Network:
    encoder = SCGM(dims=dims, width=width)
    decoder = Same(encoder)
    return Network(encoder, {"mask": PointwiseHead(dims, decoder.channels, 1)}, decoder)


def test_counts_are_the_papers() -> None:
    with torch.device("meta"):
        net = segmenter()
    statistics = sum(b.numel() for name, b in net.named_buffers() if not name.endswith("num_batches_tracked"))
    assert (parameter_count(net), parameter_count(net) + statistics) == (126_177, 127_585)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_formula_written_plainly_on_synthetic_images(dims: int) -> None:
    torch.manual_seed(0)
    net = segmenter(dims, width=0.25).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    state = {k.removeprefix("encoder."): v for k, v in net.state_dict().items()}
    convolve = F.conv2d if dims == 2 else F.conv3d

    def normed(x: Tensor, name: str) -> Tensor:
        stats = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *stats)

    def unit(x: Tensor, name: str, dilation: int, padding: int) -> Tensor:
        out = convolve(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding, dilation=dilation)
        return normed(out.relu(), f"{name}_bn")

    x = torch.randn(2, 1, *[30 if dims == 2 else 14] * dims)
    trunk = x
    for name, rate in (("conv1a", 1), ("conv1b", 1), ("conv2a", 2), ("conv2b", 2)):
        trunk = unit(trunk, name, rate, rate)
    found = [unit(unit(trunk, "branch1a", 1, 1), "branch1b", 1, 0)]
    for i, rate in ((2, 6), (3, 12), (4, 18), (5, 24)):
        found.append(unit(unit(trunk, f"branch{i}a", rate, rate), f"branch{i}b", rate, rate))
    found.append(torch.ones_like(trunk) * trunk.flatten(2).mean(2).reshape(*trunk.shape[:2], *[1] * dims))
    expected = unit(normed(torch.cat(found, 1), "concat_bn"), "amort", 1, 0)
    with torch.no_grad():
        assert torch.allclose(net.dense(x), expected, atol=1e-5)


def test_resolution_is_kept_at_any_size() -> None:
    with torch.device("meta"):
        assert segmenter().eval().dense(torch.empty(1, 1, 37, 53)).shape == (1, 64, 37, 53)


def test_dropout_acts_in_training_only() -> None:
    net = segmenter(width=0.25)
    x = torch.randn(1, 1, 8, 8)
    assert not torch.equal(net.train().dense(x), net.dense(x))
    assert torch.equal(net.eval().dense(x), net.dense(x))
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout2d) and m.p} == {0.4}


def test_drop_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_path"):
        SCGM(drop_path=0.1)
