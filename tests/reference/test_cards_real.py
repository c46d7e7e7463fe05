"""The packaged weights are what their cards say: judged by torchvision, by photos, and by networks typed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from skimage import data
from torch import Tensor, nn

from allograft.core.errors import PlanError
from allograft.data.origins import reachable, resolve
from allograft.datasets.skin_histology import SkinHistology
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.weights.fingerprint import check_fingerprint
from allograft.weights.reading.files import open_tensors
from allograft.weights.source import SourceWeights, WeightSource, cards

pytestmark = pytest.mark.origin

LITES = {"tf_efficientnet_lite0-imagenet": 0, "tf_efficientnet_lite1-imagenet": 1, "tf_efficientnet_lite2-imagenet": 2}
MOBILE = "mobilenetv2_100-imagenet"
ALL = [*LITES, MOBILE]

NORMS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "[-1, 1]": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0,) * 3, (1.0,) * 3),
    "0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
}


def opened(name: str) -> SourceWeights:
    card = cards()[name]
    if not reachable(card.origin, sha256=card.sha256):
        pytest.skip(f"{name}: {card.origin} cannot be reached from this machine")
    return SourceWeights.open(card, resolve(card.origin, sha256=card.sha256))


def in_file(card: WeightSource) -> dict[str, Tensor]:
    """Return the tensors under the file's own names, no key map involved."""
    file = open_tensors(resolve(card.origin, sha256=card.sha256), card.container)
    return {name: file.read(name) for name in file.shapes}


def encoder(source: SourceWeights, name: str = "") -> TimmEncoder:
    net = TimmEncoder(name or source.card.encoder.removeprefix("timm:"))
    net.load_state_dict({key: source[key] for key in source if not key.startswith("heads.")})
    return net.eval()


@lru_cache
def photo(name: str, size: int) -> Tensor:
    """Return the central square of one of scikit-image's photos, (1, 3, size, size) in [0, 1]."""
    image = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    square = image[..., top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def normalised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize("name", ALL)
def test_the_key_map_fills_every_tensor_and_keeps_the_classifier_apart(name: str) -> None:
    source = opened(name)
    state = TimmEncoder(source.card.encoder.removeprefix("timm:")).state_dict()
    head = {"heads.imagenet.weight": (1000, 1280), "heads.imagenet.bias": (1000,)} if name in LITES else {}
    assert {**{key: tuple(value.shape) for key, value in state.items()}, **head} == source.shapes
    assert source.unmapped == ()
    assert source.verified


@pytest.mark.parametrize("name", ALL)
def test_the_fingerprint_fits_and_says_no_to_bgr(name: str) -> None:
    source = opened(name)
    net = encoder(source)
    assert source.card.fingerprint is not None
    assert check_fingerprint(net, source.card.fingerprint, who=name) < 1e-4
    stem = net.get_parameter("model.conv_stem.weight")
    with torch.no_grad():
        stem.copy_(stem.flip(1))
    with pytest.raises(PlanError, match="BGR"):
        check_fingerprint(net, source.card.fingerprint, who=name)


def test_the_fingerprint_tells_timms_other_lite0_which_fits_in_every_shape() -> None:
    source = opened("tf_efficientnet_lite0-imagenet")
    other = encoder(source, "efficientnet_lite0")
    assert source.card.fingerprint is not None
    with pytest.raises(PlanError, match="First in stem"):
        check_fingerprint(other, source.card.fingerprint, who="efficientnet_lite0")


# EfficientNet-Lite, typed from its description with the file's own names: (blocks, stride) of each stage.
STAGES = {
    0: ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)),
    1: ((1, 1), (3, 2), (3, 2), (4, 2), (4, 1), (5, 2), (1, 1)),
    2: ((1, 1), (3, 2), (3, 2), (4, 2), (4, 1), (5, 2), (1, 1)),
}


def same_conv(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolve as TensorFlow's SAME does: odd padding goes to the bottom and right."""
    pads: list[int] = []
    for n, k in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def lite_logits(file: Mapping[str, Tensor], x: Tensor, version: int) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, w, b = (file[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, w, b, eps=1e-3)

    x = F.relu6(norm(same_conv(x, file["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for blocks, first_stride in STAGES[version]:
        for i in range(blocks):
            name, before, stride = f"_blocks.{number}", x, first_stride if i == 0 else 1
            if f"{name}._expand_conv.weight" in file:
                x = F.relu6(norm(same_conv(x, file[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            x = same_conv(x, file[f"{name}._depthwise_conv.weight"], stride, groups=x.shape[1])
            x = norm(same_conv(F.relu6(norm(x, f"{name}._bn1")), file[f"{name}._project_conv.weight"]), f"{name}._bn2")
            x = x + before if stride == 1 and x.shape == before.shape else x
            number += 1
    x = F.relu6(norm(same_conv(x, file["_conv_head.weight"]), "_bn1")).mean((2, 3))
    return F.linear(x, file["_fc.weight"], file["_fc.bias"])


@pytest.mark.parametrize("name", LITES)
def test_the_mapped_network_gives_the_logits_of_the_files_own_network(name: str) -> None:
    source = opened(name)
    file = in_file(source.card)
    x = torch.randn(1, 3, *source.card.expects.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = lite_logits(file, x, LITES[name])
        got = F.linear(encoder(source)(x)[-1].mean((2, 3)), file["_fc.weight"], file["_fc.bias"])
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_timms_other_lite0_gives_other_logits() -> None:
    source = opened("tf_efficientnet_lite0-imagenet")
    file = in_file(source.card)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = lite_logits(file, x, 0)
        got = F.linear(encoder(source, "efficientnet_lite0")(x)[-1].mean((2, 3)), file["_fc.weight"], file["_fc.bias"])
    assert (got - want).norm() / want.norm() > 0.2


@pytest.mark.parametrize("name", LITES)
@pytest.mark.parametrize(("picture", "right"), [("chelsea", {281, 282, 285}), ("coffee", {967})])
def test_photos_are_classified_rightly_under_the_cards_input_contract(name: str, picture: str, right: set[int]) -> None:
    source = opened(name)
    expects, head = source.card.expects, (source["heads.imagenet.weight"], source["heads.imagenet.bias"])
    x = normalised(photo(picture, expects.size[0]), expects.mean, expects.std)
    with torch.no_grad():
        logits = F.linear(encoder(source)(x)[-1].mean((2, 3)), *head)[0]
    assert int(logits.argmax()) in right
    assert float(logits.softmax(0)[list(right)].sum()) > 0.5


@pytest.mark.parametrize("name", ALL)
def test_the_stems_batch_norm_remembers_the_cards_normalisation_and_no_other(name: str) -> None:
    """Variances behind the first convolution, on four photos, against those kept from training."""
    source = opened(name)
    weight, kept = source["model.conv_stem.weight"], source["model.bn1.running_var"]
    x = torch.cat([photo(each, 224) for each in ("chelsea", "coffee", "rocket", "astronaut")])
    gap = {}
    for norm, (mean, std) in NORMS.items():
        variance = F.conv2d(normalised(x, mean, std), weight, stride=2).var((0, 2, 3))
        gap[norm] = float((variance / kept).log().median().abs())
    mine = next(n for n, values in NORMS.items() if values == (source.card.expects.mean, source.card.expects.std))
    assert gap[mine] < 0.7
    assert min(value for norm, value in gap.items() if norm != mine) > gap[mine] + 0.5, gap


def test_mobilenet_gives_torchvisions_features() -> None:
    source = opened(MOBILE)
    judge = torchvision.models.mobilenet_v2().features.eval()
    file = in_file(source.card)
    judge.load_state_dict(dict(zip(judge.state_dict(), file.values(), strict=True)))
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    net = encoder(source)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[-1], judge(x), rtol=1e-4, atol=1e-5)
        first: Callable[[Tensor], Tensor] = nn.Sequential(*list(judge)[:4])
        torch.testing.assert_close(net(x)[1], first(x), rtol=1e-4, atol=1e-4)


def probe(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, per_class: int) -> float:
    """Return the mean balanced accuracy of a linear probe over 6 draws: 6 strips to learn from, 6 to judge."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    for seed in range(6):
        rng = np.random.RandomState(seed)
        learn = np.isin(groups, rng.permutation(12)[:6])
        drawn = np.concatenate([rng.permutation(np.flatnonzero(learn & (labels == k)))[:per_class] for k in range(4)])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(features[drawn], labels[drawn])
        scores.append(balanced_accuracy_score(labels[~learn], model.predict(features[~learn])))
    return float(np.mean(scores))


def settled(net: TimmEncoder, x: Tensor) -> TimmEncoder:
    """Give a random network the batch statistics of the patches; without them its features all but vanish."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for part in x.split(96):
            net.train()(part)
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0-imagenet", MOBILE])
def test_on_grey_skin_patches_trained_features_beat_random_ones(name: str) -> None:
    source = opened(name)
    cohort = SkinHistology().prepare()
    patches = torch.from_numpy(np.load(cohort.cases[0].image[0].path)).float()[:, None]
    x = (patches - patches.mean((2, 3), keepdim=True)) / (patches.std((2, 3), keepdim=True) + 1e-6)
    labels = np.array([case.targets["tissue"] for case in cohort])
    groups = np.array([int(case.group[-2:]) for case in cohort])
    torch.manual_seed(0)
    untrained = settled(TimmEncoder(source.card.encoder.removeprefix("timm:")), x.expand(-1, 3, -1, -1))
    score = {}
    for who, net in (("trained", encoder(source)), ("random", untrained)):
        with torch.no_grad():
            features = torch.cat([net(part.expand(-1, 3, -1, -1))[-1].mean((2, 3)) for part in x.split(96)]).numpy()
        for per_class in (2, 10, 50):
            score[who, per_class] = probe(features, labels, groups, per_class)
    for per_class in (2, 10, 50):
        assert score["trained", per_class] > score["random", per_class] + 0.15, score
