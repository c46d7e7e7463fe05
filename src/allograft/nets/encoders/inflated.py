"""Inflated: a 2-D convolutional network becomes a 3-D one, every layer by its exact 3-D twin.

Two geometries, both with the tensor names of the 2-D network:

- "slice": kernels 1 x k x k, strides (1, s, s), squeeze-and-excitation slice by slice. Every slice of
  every level is what the 2-D network gives for that slice; as many parameters; 2-D weights fit as
  they are, with one more axis.
- "cube": kernels k x k x k and the same stride along every axis. On a volume that repeats one image
  along depth it gives what the 2-D network gives: with "centre" weights everywhere, with "average"
  weights away from the first and last slices (padding with zeros changes the mean there). On other
  volumes "centre" weights give slice s * d of the 2-D network (s * d + s - 1 where padding is
  TensorFlow's) only where nothing but convolutions touches the depth; pooling and
  squeeze-and-excitation mix slices.

What follows a global pooling sees one position of the whole volume. VGG's fully connected part, a
convolution of 7 x 7 before its pooling, sees the mean over depth, in both geometries.

Layers are recognised by their full type name: a subclass may compute something else. A layer without
a twin is refused by name. Rules: Wacker, Ladeira, Nascimento. arXiv:1912.12452 (slice); Carreira,
Zisserman. CVPR 2017. arXiv:1705.07750 (average).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn.utils import skip_init

from allograft.core.errors import ConfigError
from allograft.nets.encoders.twins import Conv3dSame, FullyConnected, NormAct, SqueezeExcite

__all__ = ["FAMILIES", "Depth", "inflated"]

Depth = Literal["cube", "slice"]
"""Geometry along depth, see the module."""

FAMILIES: Mapping[str, str] = {
    "timm.models.resnet.ResNet": "ResNet (resnet*, resnext*, wide_resnet*, seresnet*)",
    "timm.models.vgg.VGG": "VGG (vgg*)",
    "timm.models.efficientnet.EfficientNet": "MobileNetV2, MNASNet, EfficientNet, EfficientNet-Lite",
    "timm.models.mobilenetv3.MobileNetV3": "MobileNetV3",
    "timm.models.densenet.DenseNet": "DenseNet",
    "timm.models.regnet.RegNet": "RegNet (regnetx_*, regnety_*)",
}
"""Networks that convert, by full type name; single members with other layers are still refused."""


def inflated(model: nn.Module, depth: Depth, *, who: str) -> nn.Module:
    """Return a 2-D network as a 3-D one; the layers of `model` are replaced, names stay.

    Fresh kernels of depth 1 keep the 2-D numbers. Deeper ones are drawn anew from torch's random state
    with the 2-D variance over their depth, so that the response to noise keeps its size.

    Args:
        model: one of `FAMILIES`, on any device.
        depth: the geometry.
        who: name of the network in messages.

    Raises:
        ConfigError: another family, or a layer without an exact twin.
    """
    if _full(model) not in FAMILIES:
        msg = (
            f"{who} has no exact 3-D form: {type(model).__name__} is none of the families that are converted. "
            f"Those are: {'; '.join(FAMILIES.values())}. Use one of them, or our own (resnet18, cbr_tiny, ...)."
        )
        raise ConfigError(msg)
    try:
        return _children(model, depth)
    except _NoTwinError as error:
        msg = f"{who} has no exact 3-D form: its layer {error.path} has none ({error.reason}). Take another network."
        raise ConfigError(msg) from error


class _NoTwinError(Exception):
    """A layer has no exact 3-D form: the way to it and the reason."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason, self.path = reason, path


def _full(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _children(module: nn.Module, depth: Depth) -> nn.Module:
    for name, _ in list(module.named_children()):
        module.add_module(name, _twin_of(module, name, depth))
    return module


def _twin_of(module: nn.Module, name: str, depth: Depth) -> nn.Module:
    """Return the 3-D form of a module's child."""
    child = module.get_submodule(name)
    try:
        return _twin(child, depth)
    except _NoTwinError as error:
        raise _NoTwinError(error.reason, f"{name}.{error.path}".rstrip(".")) from error


def _twin(module: nn.Module, depth: Depth) -> nn.Module:
    """Return the 3-D form of a layer or block, in the mode of the 2-D one."""
    name = _full(module)
    if name in _FREE:
        return _children(module, depth)
    if name not in _TWINS:
        raise _NoTwinError(type(module).__name__)
    return _TWINS[name](module, depth).train(module.training)


def _axes(value: int | tuple[int, ...], depth: Depth, flat: int) -> tuple[int, int, int]:
    """Return a setting for three axes; `flat` is that of the depth where slices do not mix."""
    high, wide = (value, value) if isinstance(value, int) else value
    if depth == "cube" and high != wide:
        msg = f"a kernel, stride or padding of {(high, wide)} says nothing of a third axis"
        raise _NoTwinError(msg)
    return (high if depth == "cube" else flat, high, wide)


def _conv(module: nn.Module, depth: Depth, kind: type[nn.Conv3d] = nn.Conv3d) -> nn.Module:
    old = cast("nn.Conv2d", module)
    if isinstance(old.padding, str) or old.padding_mode != "zeros":
        msg = f"{type(old).__name__} with padding {old.padding!r}, {old.padding_mode!r}"
        raise _NoTwinError(msg)
    new = skip_init(  # type: ignore[no-untyped-call] # torch's own
        kind,
        old.in_channels,
        old.out_channels,
        _axes(old.kernel_size, depth, 1),
        stride=_axes(old.stride, depth, 1),
        padding=_axes(old.padding, depth, 0),
        dilation=_axes(old.dilation, depth, 1),
        groups=old.groups,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    new.weight = nn.Parameter(_fresh(old.weight.detach(), new.kernel_size[0]), requires_grad=old.weight.requires_grad)
    new.bias = old.bias
    return cast("nn.Module", new)


def _fresh(weight: Tensor, taps: int) -> Tensor:
    """Return a first value (O, I, taps, *K): the 2-D one, or for several taps a draw of variance / taps."""
    if taps == 1:
        return weight.unsqueeze(2)
    out = weight.new_empty(*weight.shape[:2], taps, *weight.shape[2:])
    return out if out.is_meta else out.normal_(0.0, float(weight.std() / taps**0.5))


def _conv_same(module: nn.Module, depth: Depth) -> nn.Module:
    return _conv(module, depth, Conv3dSame)


def _norm(module: nn.Module, _depth: Depth) -> nn.Module:
    """Take over the very parameters and statistics: they do not depend on the dimension."""
    old = cast("nn.BatchNorm2d", module)
    new = NormAct if "act" in old._modules else nn.BatchNorm3d
    made = new(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    made._parameters.update(old._parameters)
    made._buffers.update(old._buffers)
    for name, child in old.named_children():
        if _full(child) not in _FREE:
            raise _NoTwinError(type(child).__name__, name)
        made.add_module(name, child)
    return made


def _max_pool(module: nn.Module, depth: Depth) -> nn.Module:
    old = cast("nn.MaxPool2d", module)
    return nn.MaxPool3d(
        _axes(old.kernel_size, depth, 1),
        _axes(old.stride, depth, 1),
        _axes(old.padding, depth, 0),
        _axes(old.dilation, depth, 1),
        return_indices=old.return_indices,
        ceil_mode=old.ceil_mode,
    )


def _mean_pool(module: nn.Module, depth: Depth) -> nn.Module:
    old = cast("nn.AvgPool2d", module)
    if old.divisor_override is not None:
        msg = "AvgPool2d that divides by a number of its own"
        raise _NoTwinError(msg)
    sizes = _axes(old.kernel_size, depth, 1), _axes(old.stride, depth, 1), _axes(old.padding, depth, 0)
    return nn.AvgPool3d(*sizes, ceil_mode=old.ceil_mode, count_include_pad=old.count_include_pad)


def _global_pool(module: nn.Module, _depth: Depth) -> nn.Module:
    size = cast("nn.AdaptiveAvgPool2d", module).output_size
    if size not in (1, (1, 1)):
        msg = f"AdaptiveAvgPool2d to {size} positions"
        raise _NoTwinError(msg)
    return nn.AdaptiveAvgPool3d(1)


def _squeeze(module: nn.Module, depth: Depth) -> nn.Module:
    if getattr(module, "add_maxpool", False):
        msg = "squeeze-and-excitation with a maximum"
        raise _NoTwinError(msg)
    order = [
        n for n in ("fc1", "conv_reduce", "bn", "act", "act1", "fc2", "conv_expand", "gate") if n in module._modules
    ]
    layers = _layers(module, order, depth)
    return SqueezeExcite(layers, (2, 3, 4) if depth == "cube" else (3, 4))


def _fully_connected(module: nn.Module, _depth: Depth) -> nn.Module:
    layers = _layers(module, ["fc1", "act1", "drop", "fc2", "act2"], "slice")
    return FullyConnected(layers, cast("nn.Conv3d", layers["fc1"]).kernel_size[-1])


def _layers(module: nn.Module, order: Sequence[str], depth: Depth) -> dict[str, nn.Module]:
    """Return twins of the named children, which must be all."""
    if set(order) != set(module._modules):
        msg = f"{type(module).__name__} of {', '.join(module._modules)}"
        raise _NoTwinError(msg)
    return {name: _twin_of(module, name, depth) for name in order}


_TWINS: Mapping[str, Callable[[nn.Module, Depth], nn.Module]] = {
    "torch.nn.modules.conv.Conv2d": _conv,
    "torch.nn.modules.batchnorm.BatchNorm2d": _norm,
    "torch.nn.modules.pooling.MaxPool2d": _max_pool,
    "torch.nn.modules.pooling.AvgPool2d": _mean_pool,
    "torch.nn.modules.pooling.AdaptiveAvgPool2d": _global_pool,
    "timm.layers.conv2d_same.Conv2dSame": _conv_same,
    "timm.layers.norm_act.BatchNormAct2d": _norm,
    "timm.layers.squeeze_excite.SEModule": _squeeze,
    "timm.models._efficientnet_blocks.SqueezeExcite": _squeeze,
    "timm.models.vgg.ConvMlp": _fully_connected,
}

_ACTIVATIONS = ("ReLU", "ReLU6", "SiLU", "Sigmoid", "Hardswish", "Hardsigmoid")

_FREE = frozenset(
    {
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Identity",
        "torch.nn.modules.dropout.Dropout",
        "torch.nn.modules.flatten.Flatten",
        *(f"torch.nn.modules.activation.{name}" for name in _ACTIVATIONS),
        "timm.layers.activations.Sigmoid",
        "timm.layers.adaptive_avgmax_pool.SelectAdaptivePool2d",
        "timm.layers.classifier.ClassifierHead",
        "timm.layers.conv_bn_act.ConvNormAct",
        "timm.layers.drop.DropPath",
        *(f"timm.models._efficientnet_blocks.{n}" for n in ("ConvBnAct", "DepthwiseSeparableConv")),
        *(f"timm.models._efficientnet_blocks.{n}" for n in ("EdgeResidual", "InvertedResidual")),
        *(f"timm.models.densenet.{n}" for n in ("DenseBlock", "DenseLayer", "DenseTransition")),
        *(f"timm.models.regnet.{n}" for n in ("Bottleneck", "PreBottleneck", "RegStage")),
        *(f"timm.models.resnet.{n}" for n in ("BasicBlock", "Bottleneck")),
    }
)
"""Types whose own forward does not depend on the dimension (read in timm 1.0); only their children change."""
