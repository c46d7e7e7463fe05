"""Contract suite of decoders: features of every element of the image, from any encoder's levels.

`check_decoder(decoder, encoder, dims)` runs all checks; each is public. They raise AssertionError with
what was declared and what came out.
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor

from allograft.core.task import Task
from allograft.nets.build import DecoderFactory, EncoderFactory, Parts, build_network
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Decoder, Network, stage_of
from allograft.nets.spec import NetSpec

__all__ = [
    "check_decoded",
    "check_decoder",
    "check_decoder_learns",
    "check_decoder_on_meta",
    "check_decoding_is_deterministic",
    "check_projection",
    "segmentation_net",
]

TASK = Task(kind="segmentation", classes=("background", "organ", "lesion"), head="mask")


def segmentation_net(
    decoder: DecoderFactory,
    encoder: EncoderFactory,
    dims: int,
    *,
    in_channels: int = 1,
    device: str = "cpu",
) -> Network:
    """Return a network for three classes, head "mask", whose values depend on nothing outside."""
    spec = NetSpec.model_validate({"encoder": "checked", "decoder": "checked", "dims": dims})
    parts = Parts(encoder, decoder)
    return build_network(spec, {"mask": TASK}, in_channels=in_channels, seed=0, parts=parts, device=device)


def check_decoder(
    decoder: DecoderFactory, encoder: EncoderFactory, dims: int, *, size: int = 32, in_channels: int = 1
) -> None:
    """Run the suite for a decoder behind an encoder, on images of `size` along each axis.

    Args:
        decoder: makes the decoder.
        encoder: makes the encoder.
        dims: 2 or 3.
        size: a multiple of the encoder's largest stride.
        in_channels: channels of the image.

    Raises:
        AssertionError: a part of the contract does not hold.
    """
    net = segmentation_net(decoder, encoder, dims, in_channels=in_channels)
    x = torch.randn(2, in_channels, *[size] * dims, generator=torch.Generator().manual_seed(0))
    check_decoded(net, x)
    check_projection(net, x)
    check_decoder_learns(net, x)
    check_decoding_is_deterministic(net, x)
    check_decoder_on_meta(decoder, net)


def check_decoded(net: Network, x: Tensor) -> None:
    """The decoder gives the declared channels on the grid of images `x` (B, C, *S), in one stage."""
    decoder = cast("object", net.decoder)
    assert isinstance(decoder, Decoder), f"{type(decoder).__name__} lacks a part of the Decoder protocol"
    with torch.no_grad():
        decoded = net.eval().dense(x)
    expected = (x.shape[0], decoder.channels, *x.shape[2:])
    assert tuple(decoded.shape) == expected, f"declared {expected}, came {tuple(decoded.shape)}"
    assert torch.isfinite(decoded).all(), "decoded features are not finite"
    stages = net.stages()
    homes = {stage_of(key, stages) for key in net.state_dict() if key.startswith("decoder.")}
    assert homes <= {"decoder", "head.decoder"}, f"the decoder's tensors lie in {sorted(homes)}"


def check_projection(net: Network, x: Tensor) -> None:
    """The network's logits are its head's projection of its dense features."""
    head = cast("PointwiseHead", net.heads["mask"])
    with torch.no_grad():
        whole, projected = net.eval()(x).logits["mask"], head.project(net.dense(x))
    assert torch.allclose(whole, projected, atol=1e-5), "logits differ from the projected features"


def check_decoder_learns(net: Network, x: Tensor) -> None:
    """A random projection of the features gives each parameter of the decoder a gradient that is not all zero."""
    copy = deepcopy(net).eval()
    assert copy.decoder is not None
    decoded = copy.dense(x)
    weight = torch.randn(decoded.shape, generator=torch.Generator().manual_seed(1))
    (weight * decoded).mean().backward()  # type: ignore[no-untyped-call] # torch's own
    idle = [name for name, p in copy.decoder.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not idle, f"{len(idle)} parameters of the decoder get no gradient, first: {idle[:3]}"


def check_decoding_is_deterministic(net: Network, x: Tensor) -> None:
    """In evaluation the same levels give the same features, whatever their batch mates."""
    assert net.decoder is not None
    with torch.no_grad():
        levels = net.eval().encode(x)
        kept = [level.clone() for level in levels]
        first, again = net.decoder(levels), net.decoder(levels)
        alone = net.decoder(tuple(level[:1] for level in levels))
    assert all(map(torch.equal, kept, levels)), "decoding changed the levels"
    assert torch.equal(first, again), "features differ between two evaluations"
    scale = float(first.abs().max())
    assert torch.allclose(first[:1], alone, atol=1e-4 * scale), "features depend on other cases of the batch"


def check_decoder_on_meta(decoder: DecoderFactory, net: Network) -> None:
    """Built on the meta device, the decoder has the same tensors and no numbers."""
    assert net.decoder is not None
    with torch.device("meta"):
        shapes = decoder(net.shape).state_dict()
    found = {key: tuple(t.shape) for key, t in shapes.items()}
    assert found == {key: tuple(t.shape) for key, t in net.decoder.state_dict().items()}, "tensors differ on meta"
    assert all(t.is_meta for t in shapes.values()), "a tensor built under meta holds numbers"
