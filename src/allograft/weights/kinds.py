"""What each tensor of a network is, by the type of the module that owns it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from allograft.nets.network import Network, stage_of
from allograft.weights.rules import Kind

__all__ = ["Slot", "classify", "further_inputs", "slots"]

_NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
_STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_POSITIONS = ("pos_embed", "position_embedding", "pos_embedding", "relative_position_bias", "absolute_pos")
_TABLE = "relative_position_bias"
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_ROWS = ("linear", "conv")


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
        dims: 2 or 3, spatial axes of the network.
        channel_names: of the first convolution, what its input channels mean; empty where unknown.
        grid: of positions, the grid of the network; of relative ones, the sizes 2 w - 1 of the table; () where unknown.
        head: name of the head that it belongs to, "" for none.
        outputs: of a head's last layer, whose rows are outputs: their names; empty for others.
        background: whether the first of `outputs` is the background of a segmentation.
    """

    key: str
    stage: str
    kind: Kind
    shape: tuple[int, ...]
    counter: bool = False
    conv: bool = False
    input_conv: bool = False
    dims: int = 2
    channel_names: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    head: str = ""
    outputs: tuple[str, ...] = ()
    background: bool = False

    @property
    def source(self) -> str:
        """The name that a source uses for it: encoder tensors without their prefix."""
        return self.key.removeprefix("encoder.")

    @property
    def table(self) -> bool:
        """Whether it is a table of relative position biases (rows, heads)."""
        return self.kind == "position" and _TABLE in self.key and len(self.shape) == 2


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
        kind = classify(name, owner, is_parameter=key in parameters)
        slot = Slot(
            key=key,
            stage=stage_of(key, stages),
            kind=kind,
            shape=tuple(tensor.shape),
            counter=not tensor.is_floating_point(),
            conv=conv,
            input_conv=conv and key == first,
            dims=net.shape.dims,
            channel_names=net.channel_names if key == first else (),
            grid=_grid(owner, name) if kind == "position" else (),
        )
        found.append(_of_head(slot, net) if key.startswith("heads.") else slot)
    return tuple(found)


def _of_head(slot: Slot, net: Network) -> Slot:
    """Say which head a tensor belongs to, and what its rows mean where they are the head's outputs."""
    _, head, *path = slot.key.split(".")
    task = net.tasks.get(head)
    if task is None or path[:-1] not in [[name] for name in _ROWS] or slot.shape[:1] != (task.outputs,):
        return slot._replace(head=head)
    return slot._replace(head=head, outputs=task.output_names, background=task.kind == "segmentation")


def _grid(owner: nn.Module, name: str) -> tuple[int, ...]:
    """Return the grid of a position tensor as its module knows it, () where it does not."""
    if _TABLE in name:
        window = getattr(owner, "window_size", None)
        return tuple(2 * int(w) - 1 for w in window) if isinstance(window, tuple | list) else ()
    size = getattr(getattr(owner, "patch_embed", owner), "grid_size", None)
    return tuple(int(n) for n in size) if isinstance(size, tuple | list) else ()


def further_inputs(net: Network) -> tuple[str, ...]:
    """Return the encoder's other convolutions that take as many channels as the image: they may see it too."""
    first, channels = _input_kernel(net), net.shape.in_channels
    return tuple(
        f"encoder.{name}"
        for name, module in net.encoder.named_modules()
        if isinstance(module, _CONVOLUTIONS)
        and (module.in_channels, module.groups) == (channels, 1)
        and first not in {"", f"encoder.{name}.weight"}
    )


def _input_kernel(net: Network) -> str:
    """Return the key of the kernel that sees the image: of the encoder's first convolution."""
    for name, module in net.encoder.named_modules():
        if isinstance(module, _CONVOLUTIONS):
            sees_image = module.in_channels == net.shape.in_channels and module.groups == 1
            return f"encoder.{name}.weight" if sees_image else ""
    return ""
