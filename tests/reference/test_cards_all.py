"""Every packaged card: a synthetic file laid out as the real one arrives in the card's encoder, bit by bit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from allograft import catalog
from allograft.core.errors import ConfigError, DataError, PlanError
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.full import Full
from allograft.study.sources import find_card, open_source, require_licence
from allograft.weights.apply import apply
from allograft.weights.card import WeightSource, card_named, cards
from allograft.weights.export import save_folder
from allograft.weights.reading.files import MemoryTensors
from allograft.weights.source import SourceWeights
from checkpoint_layouts import resnet
from fake_checkpoints import LAYOUTS, Fake, fake_file, true_state

REAL = {name for name in cards() if name.startswith(("deepbet", "tf_efficientnet_lite", "mobilenetv2"))}
"""Cards whose real files are read in test_cards_real.py and test_cards_volumes.py."""

ONE_EACH = {"resnet18-imagenet-v1", "resnet50-moco-v2", "resnet50-pirl", "resnet50-sela-v2", "resnet50-simclr-v2"}
ONE_EACH |= {"resnet50-byol", "resnet50-inat2021-mini", "resnet50-radimagenet", "genesis-chest-ct"}
ONE_EACH |= {"medicalnet10", "medicalnet18", "kinetics18"}
"""One card of each way of writing, whose whole way into a network runs in CI; that of all others is optional."""

BENCHMARK = [
    *("imagenet-v1", "insdis", "moco-v1", "moco-v2", "pcl-v1", "pcl-v2", "simclr-v1", "simclr-v2", "sela-v2"),
    *("deepcluster-v2", "swav", "byol", "pirl", "infomin", "barlow-twins", "inat2021", "inat2021-mini"),
    *("chestxray14", "chexpert", "imagenet-chestxray14", "imagenet-chexpert"),
]
MEDICALNET = {10: 72, 18: 102, 34: 198, 50: 318, 101: 624, 152: 930, 200: 1218}
NUMBERS = {10: 14_355_520, 18: 32_986_176, 34: 63_295_808, 50: 46_155_072}
NUMBERS |= {101: 85_201_216, 152: 117_359_936, 200: 126_559_552}


def thin(name: str) -> WeightSource:
    """Return a card for fewer channels, which MONAI's norms bound; hash and fingerprint are the real file's."""
    width = 0.5 if name.startswith("monai") else 0.125
    return card_named(name).model_copy(update={"width": width, "sha256": "", "fingerprint": None})


def network(card: WeightSource, *, device: str = "cpu", encoder: str = "") -> Network:
    decoder = {"genesis": "genesis", "monai:SegResNet": "same"}.get(card.encoder, "")
    task = (
        Task(kind="segmentation", head="y", classes=("a", "b"))
        if decoder
        else Task(kind="binary", head="y", classes=("a", "b"))
    )
    spec = NetSpec(encoder=encoder or card.encoder, dims=card.dims, width=card.width, decoder=decoder)
    channels = card.expects.channels
    built = build_network(spec, {"y": task}, in_channels=channels, seed=0, parts=catalog.parts(spec), device="meta")
    return built if device == "meta" else built.to_empty(device=device)


def start(card: WeightSource) -> Full:
    return Full(decoder="copy") if card.encoder == "genesis" else Full()


def arrived(net: Network) -> dict[str, Tensor]:
    state = net.state_dict()
    return {key.removeprefix("encoder."): t for key, t in state.items() if not key.startswith("heads.")}


def check_round_trip(card: WeightSource, fake: Fake) -> None:
    source = SourceWeights.open(card, fake.path)
    net = network(card)
    plan = start(card).plan(net, source)
    plan.require_sound()
    apply(plan, net, source, seed=0)
    got = arrived(net)
    counters = {key for key, tensor in got.items() if not tensor.is_floating_point()}
    assert set(got) - set(fake.state) <= counters
    assert not set(fake.state) - set(got)
    wrong = [key for key, tensor in fake.state.items() if not torch.equal(got[key], tensor)]
    assert not wrong, wrong[:3]
    kept = {item.source for item in plan.unused if item.why.startswith("no such tensor")}
    assert not kept, "nothing of the file is left over that the key map does not drop on purpose"


@pytest.mark.parametrize("name", [n if n in ONE_EACH else pytest.param(n, marks=pytest.mark.optional) for n in LAYOUTS])
def test_a_synthetic_file_laid_out_as_the_real_one_arrives_bit_by_bit(name: str, tmp_path: Path) -> None:
    card = thin(name)
    check_round_trip(card, fake_file(card, tmp_path))


def in_container(tree: Any, container: str) -> Mapping[str, Tensor]:
    for part in container.split(".") if container else ():
        tree = tree[part]
    return {name: value for name, value in tree.items() if isinstance(value, Tensor)}


@lru_cache
def full_shapes(encoder: str, dims: int, channels: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = catalog.encoder_factory(encoder)(dims=dims, in_channels=channels, width=1.0, drop_path=0.0)
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "resnet50-byol"])
def test_every_card_fills_its_encoder_at_full_size_and_drops_the_rest_on_purpose(name: str) -> None:
    card, layout = cards()[name], LAYOUTS[name]
    state = layout.net(1.0)
    source = SourceWeights(card, MemoryTensors(in_container(layout.tree(state), card.container)))
    shapes = full_shapes(card.encoder, card.dims, card.expects.channels)
    assert {key: shape for key, shape in source.shapes.items() if not key.startswith("decoder.")} == shapes
    assert set(source.shapes) == set(true_state(layout, state))


def test_every_card_has_a_layout_or_a_real_file_under_test() -> None:
    assert set(LAYOUTS) | REAL == set(cards())
    assert not set(LAYOUTS) & REAL


# What the literature counts.


def test_the_21_initialisations_of_the_systematic_benchmark_are_there_and_ask_for_318_of_320_entries() -> None:
    assert len(BENCHMARK) == 21
    for name in BENCHMARK:
        card = cards()[f"resnet50-{name}"]
        assert card.encoder == "resnet50"
        state = LAYOUTS[card.name].net(1.0)
        found = len(true_state(LAYOUTS[card.name], state))
        # haiku counts no batches: 318 less the 53 counters of the norms.
        assert found == (265 if name == "byol" else 318)


@pytest.mark.parametrize("depth", MEDICALNET)
def test_medicalnets_eleven_files_have_the_counts_of_the_literature(depth: int) -> None:
    state = LAYOUTS[f"medicalnet{depth}"].net(1.0)
    assert len(state) == MEDICALNET[depth]
    learned = sum(t.numel() for name, t in state.items() if "running" not in name and "num_batches" not in name)
    assert learned == NUMBERS[depth]
    both = {name for name in cards() if re.fullmatch(rf"medicalnet{depth}(-23datasets)?", name)}
    assert len(both) == (2 if depth <= 50 else 1)


# What must be refused.

FAMILIES = {
    "module.encoder_q.": "resnet50-moco-v1",
    "module.encoder.": "resnet50-insdis",
    "module.": "resnet50-swav",
    "none": "resnet50-barlow-twins",
    "numbers": "resnet50-radimagenet",
    "separius": "resnet50-simclr-v2",
    "haiku": "resnet50-byol",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fake]:
    folder = tmp_path_factory.mktemp("families")
    return {family: fake_file(thin(name), folder) for family, name in FAMILIES.items()}


@lru_cache
def thin_resnet50() -> Network:
    return network(thin("resnet50-swav"), device="meta")


@pytest.mark.parametrize("theirs", [family for family in FAMILIES if family != "none"])
@pytest.mark.parametrize("ours", FAMILIES)
def test_a_file_of_another_prefix_family_raises(ours: str, theirs: str, files: dict[str, Fake]) -> None:
    """With the container set right, so that only the names are wrong; names without prefix are right for all."""
    container = thin(FAMILIES[theirs]).container
    card = thin(FAMILIES[ours]).model_copy(update={"container": container})
    if ours == theirs:
        Full().plan(thin_resnet50(), SourceWeights.open(card, files[theirs].path)).require_sound()
        return
    with pytest.raises(PlanError):
        Full().plan(thin_resnet50(), SourceWeights.open(card, files[theirs].path)).require_sound()


def test_the_benchmarks_own_trap_is_refused(files: dict[str, Fake]) -> None:
    """Its loader takes "module." away first; names keep "encoder_q." and nothing fits."""
    lines = ((r"module\.(.+)", r"\1"),)
    card = thin("resnet50-moco-v1").model_copy(update={"key_map": lines})
    with pytest.raises(PlanError, match=r"gives a value to 0\.0 %"):
        check_round_trip(card, files["module.encoder_q."])


def test_a_file_of_type_a_shortcuts_is_refused_by_a_network_of_type_b(tmp_path: Path) -> None:
    card = thin("medicalnet18")
    fake = fake_file(card, tmp_path)
    source = SourceWeights.open(card, fake.path)
    plan = Full().plan(network(card, encoder="resnet18"), source)
    with pytest.raises(PlanError, match="downsample"):
        plan.require_sound()


def test_medicalnet_in_torchvisions_geometry_fits_in_every_shape_and_the_plan_says_so(tmp_path: Path) -> None:
    card = thin("medicalnet50")
    source = SourceWeights.open(card, fake_file(card, tmp_path).path)
    net = network(card, encoder="resnet50")
    net.encoder_name = "resnet50"
    plan = Full().plan(net, source)
    plan.require_sound()
    assert any("equal shapes do not prove equal function" in note for note in plan.notes)


# Layouts that are turned.


def test_byols_kernels_compute_what_explicit_loops_over_the_file_compute(tmp_path: Path) -> None:
    """A 3 x 3 convolution of channels-last images with the kernel as haiku keeps it: H, W, in, out."""
    card = thin("resnet50-byol")
    source = SourceWeights.open(card, fake_file(card, tmp_path).path)
    kept = resnet(50, card.width)["layer1.0.conv2.weight"].numpy().transpose(2, 3, 1, 0)
    image = torch.randn(5, 5, kept.shape[2], generator=torch.Generator().manual_seed(0)).numpy()
    want = torch.zeros(3, 3, kept.shape[3])
    for y in range(3):
        for x in range(3):
            for dy in range(3):
                for dx in range(3):
                    want[y, x] += torch.from_numpy(image[y + dy, x + dx] @ kept[dy, dx])
    first = torch.from_numpy(image).permute(2, 0, 1)[None]
    got = torch.nn.functional.conv2d(first, source["layer1.0.conv2.weight"])[0].permute(1, 2, 0)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet50-byol", "genesis-chest-ct", "resnet50-moco-v1"])
def test_a_source_kept_as_a_run_folder_is_a_source_like_any_other(name: str, tmp_path: Path) -> None:
    """Names are mapped and axes turned once, not again when the folder is opened."""
    card = thin(name)
    fake = fake_file(card, tmp_path)
    save_folder(SourceWeights.open(card, fake.path), tmp_path / "run")
    found = find_card(str(tmp_path / "run"))
    assert (found.encoder, found.key_map, found.layout, found.kernel_axes) == (card.encoder, (), "torch", ())
    source = open_source(str(tmp_path / "run"))
    assert all(torch.equal(source[key], tensor) for key, tensor in fake.state.items())
    assert source.verified


# Licences, and how files are got.


def test_weights_that_forbid_commercial_use_are_known_and_must_be_accepted() -> None:
    bound = {name for name, card in cards().items() if not card.commercial}
    assert {f"resnet50-{n}" for n in ("chexpert", "imagenet-chexpert", "chestxray14", "swav", "moco-v2")} <= bound
    assert "genesis-chest-ct" in bound
    assert not any(name.startswith(("medicalnet", "resnet50-imagenet-v")) for name in bound)
    for name in bound:
        with pytest.raises(ConfigError, match="accept_licence"):
            require_licence(cards()[name], [])
        require_licence(cards()[name], [name])


def test_a_card_says_how_its_file_is_got(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for card in cards().values():
        assert card.by_hand == bool(card.get), card.name
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ALLOGRAFT_WHEELHOUSE", raising=False)
    with pytest.raises(DataError, match=r"kinetics50.*only a person can fetch it.*take resnet-50-kinetics\.pth"):
        open_source("kinetics50")


def test_a_file_got_by_hand_is_found_in_the_folder_for_such_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = thin("kinetics18")
    fake = fake_file(card, tmp_path)
    (tmp_path / "carried").mkdir()
    fake.path.rename(tmp_path / "carried" / "resnet-18-kinetics.pth")
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALLOGRAFT_WHEELHOUSE", str(tmp_path / "carried"))
    text = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    source = open_source(str(tmp_path / "mine.yaml"))
    assert torch.equal(source["conv1.weight"], fake.state["conv1.weight"])
