"""Models Genesis' U-Net: the paper's counts, its formula written plainly, its checkpoint's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.nets.decoders.genesis import GenesisDecoder
from allograft.nets.encoders.genesis import Genesis
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Network, parameter_count
from allograft.starts.full import Full
from allograft.starts.mean_var import MeanVar
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights, WeightSource


def unet(dims: int = 3, *, width: float = 1.0, classes: int = 1) -> Network:
    encoder = Genesis(dims=dims, width=width)
    decoder = GenesisDecoder(encoder)
    return Network(encoder, {"mask": PointwiseHead(dims, decoder.channels, classes)}, decoder)


def synthetic_checkpoint(seed: int = 5) -> dict[str, Tensor]:
    """Tensors as the public file names them, with values made here (synthetic)."""
    torch.manual_seed(seed)
    net = unet(width=0.125)
    state = {}
    for key, value in net.state_dict().items():
        name = key.removeprefix("encoder.").removeprefix("decoder.")
        name = name.replace("heads.mask.conv", "out_tr.final_conv")
        noise = torch.rand(value.shape) if value.is_floating_point() else 3
        state[f"module.{name}"] = (value + noise).contiguous()
    return state


def genesis_source(folder: Path, state: dict[str, Tensor]) -> SourceWeights:
    path = folder / "genesis.safetensors"
    save_file(state, path)
    card = {
        "name": "genesis-synthetic",
        "title": "a synthetic file with the names of Models Genesis",
        "origin": f"file:{path}",
        "license": "own",
        "commercial": True,
        "reference": Reference(title="own"),
        "encoder": "genesis",
        "dims": 3,
        "key_map": (
            (r"module\.(down_tr.+)", r"\1"),
            (r"module\.(up_tr.+)", r"decoder.\1"),
            (r"module\.out_tr\..+", None),
        ),
    }
    return SourceWeights.open(WeightSource.model_validate(card), path)


def test_counts_are_the_papers() -> None:
    with torch.device("meta"):
        net = unet()
    assert parameter_count(net.encoder) == 7_027_776
    assert parameter_count(net) == 19_073_665


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_formula_written_plainly_on_synthetic_images(dims: int) -> None:
    torch.manual_seed(0)
    net = unet(dims, width=0.125).train()
    state = {k.split(".", 1)[1]: v for k, v in net.state_dict().items()}
    fold = (F.conv2d, F.conv_transpose2d, F.max_pool2d) if dims == 2 else (F.conv3d, F.conv_transpose3d, F.max_pool3d)

    def pair(x: Tensor, at: str) -> Tensor:
        for i in (0, 1):
            p = f"{at}.ops.{i}."
            x = fold[0](x, state[p + "conv1.weight"], state[p + "conv1.bias"], padding=1)
            x = F.batch_norm(x, None, None, state[p + "bn1.weight"], state[p + "bn1.bias"], training=True).relu()
        return x

    x = torch.randn(2, 1, *[16] * dims)
    down = [pair(x, "down_tr64")]
    for name in ("down_tr128", "down_tr256", "down_tr512"):
        down.append(pair(fold[2](down[-1], 2), name))
    up = down.pop()
    for name in ("up_tr256", "up_tr128", "up_tr64"):
        grown = fold[1](up, state[f"{name}.up_conv.weight"], state[f"{name}.up_conv.bias"], stride=2)
        up = pair(torch.cat([grown, down.pop()], 1), name)
    with torch.no_grad():
        assert torch.allclose(net.dense(x), up, atol=1e-5)


def test_a_checkpoint_fills_encoder_and_decoder_and_nothing_else(tmp_path: Path) -> None:
    """Synthetic values under the public names."""
    state = synthetic_checkpoint()
    source, net = genesis_source(tmp_path, state), unet(width=0.125, classes=3)
    before = net.state_dict()["heads.mask.conv.weight"].clone()
    plan = Full(decoder="copy").plan(net, source)
    assert plan.problems == ()
    assert {e.action for e in plan.entries if not e.stage.startswith("head")} == {Action.COPY}
    assert {each.source for each in plan.unused} == {"module.out_tr.final_conv.weight", "module.out_tr.final_conv.bias"}
    apply(plan, net, source, seed=0)
    for key, value in net.state_dict().items():
        part, _, name = key.partition(".")
        if part != "heads":
            assert torch.equal(value, state[f"module.{name}"]), key
    assert torch.equal(net.state_dict()["heads.mask.conv.weight"], before)


def test_a_fresh_decoder_leaves_the_checkpoints_unused_and_says_so(tmp_path: Path) -> None:
    source, net = genesis_source(tmp_path, synthetic_checkpoint()), unet(width=0.125)
    plan = Full().plan(net, source)
    assert plan.problems == ()
    assert {e.action for e in plan.entries if e.stage == "decoder"} == {Action.FRESH}
    assert {each.why for each in plan.unused if "up_tr" in each.source} == {"rule: new task"}


def test_a_lacking_decoder_tensor_is_a_problem(tmp_path: Path) -> None:
    state = synthetic_checkpoint()
    del state["module.up_tr64.up_conv.weight"]
    problems = Full(decoder="copy").plan(unet(width=0.125), genesis_source(tmp_path, state)).problems
    assert any("up_tr64.up_conv.weight" in text for text in problems)


def test_mean_var_draws_the_decoder_where_asked(tmp_path: Path) -> None:
    source, net = genesis_source(tmp_path, synthetic_checkpoint()), unet(width=0.125)
    for decoder, expected in (("fresh", Action.FRESH), ("sample", Action.SAMPLE)):
        plan = MeanVar.model_validate({"decoder": decoder}).plan(net, source)
        kernels = {e.action for e in plan.entries if e.stage == "decoder" and e.kind == "weight"}
        assert (kernels, plan.problems) == ({expected}, ())
    apply(plan, net, source, seed=0)
    drawn = net.state_dict()["decoder.up_tr256.ops.0.conv1.weight"]
    given = source["decoder.up_tr256.ops.0.conv1.weight"]
    error = float(given.std()) / given.numel() ** 0.5
    assert abs(float(drawn.mean() - given.mean())) < 4 * error
    assert abs(float(drawn.std() / given.std()) - 1) < 4 / (2 * given.numel()) ** 0.5


def test_evaluation_does_not_depend_on_batch_mates() -> None:
    """The released norm always takes the batch's statistics."""
    net = unet(2, width=0.125).eval()
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(net(x).logits["mask"][:1], net(x[:1]).logits["mask"], atol=1e-5)


def test_drop_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_path"):
        Genesis(drop_path=0.1)
