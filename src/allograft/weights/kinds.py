"""What each tensor of a network is, by the type of the module that owns it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from allograft.nets.network import Network, stage_of
from allograft.weights.rules import Kind

__all__ = ["Slot", "classify", "slots"]

_NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
_STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_POSITIONS = ("pos_embed", "position_embedding", "pos_embedding", "relative_position_bias", "absolute_pos")
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


class Slot(NamedTuple):
    """A tensor of a network that waits for its value.

    Args:
        key: name in the state dict.
        stage: stage it lies in.
        kind: what it is.
        shape: its shape.
        counter: whether it holds integers (batch counters, index tables).
        conv: whether it is the kernel of a plain convolution (not transposed).
        input_conv: whether it is the kernel of the encoder's first convolution, not grouped.
    """

    key: str
    stage: str
    kind: Kind
    shape: tuple[int, ...]
    counter: bool = False
    conv: bool = False
    input_conv: bool = False

    @property
    def source(self) -> str:
        """The name that a source uses for it: encoder tensors without their prefix."""
        return self.key.removeprefix("encoder.")


def classify(name: str, owner: nn.Module, *, is_parameter: bool) -> Kind:
    """Return the kind of the tensor `name` (without path) of the module `owner`."""
    if is_norm(owner):
        return "norm_affine" if is_parameter else "norm_stat"
    if any(word in name for word in _POSITIONS):
        return "position"
    if not is_parameter:
        return "norm_stat" if name in _STATISTICS else "buffer"
    return "bias" if name.endswith("bias") else "weight"


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module normalises: one of torch's, or named so (timm's and MONAI's own)."""
    return isinstance(module, _NORMS) or any("Norm" in each.__name__ for each in type(module).__mro__)


def slots(net: Network) -> tuple[Slot, ...]:
    """Return one slot for each key of `net.state_dict()`, in its order; works on the meta device."""
    modules = dict(net.named_modules())
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    first = _input_kernel(net)
    stages = net.stages()
    found = []
    for key, tensor in net.state_dict().items():
        path, _, name = key.rpartition(".")
        owner = modules.get(path, net)
        conv = isinstance(owner, _CONVOLUTIONS) and name == "weight"
        found.append(
            Slot(
                key=key,
                stage=stage_of(key, stages),
                kind=classify(name, owner, is_parameter=key in parameters),
                shape=tuple(tensor.shape),
                counter=not tensor.is_floating_point(),
                conv=conv,
                input_conv=conv and key == first,
            )
        )
    return tuple(found)


def _input_kernel(net: Network) -> str:
    """Return the key of the kernel that sees the image: of the encoder's first convolution."""
    for name, module in net.encoder.named_modules():
        if isinstance(module, _CONVOLUTIONS):
            sees_image = module.in_channels == net.shape.in_channels and module.groups == 1
            return f"encoder.{name}.weight" if sees_image else ""
    return ""
