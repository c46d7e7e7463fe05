"""Encoders and decoders by name, and what builds those that other libraries name."""

from __future__ import annotations

from functools import partial

from allograft.core.errors import ConfigError, did_you_mean
from allograft.nets.build import DecoderFactory, EncoderFactory, Parts
from allograft.nets.decoders.albunet import AlbuNet
from allograft.nets.decoders.dense import DenseDecoder
from allograft.nets.decoders.genesis import GenesisDecoder
from allograft.nets.decoders.linknet import LinkNet
from allograft.nets.decoders.medicalnet import MedicalNetHead
from allograft.nets.decoders.same import Same
from allograft.nets.decoders.unet import UNet
from allograft.nets.encoders.cbr import CBR, CBR_FORMS
from allograft.nets.encoders.deepbet import Deepbet
from allograft.nets.encoders.dense import Dense
from allograft.nets.encoders.genesis import Genesis
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.encoders.scgm import SCGM
from allograft.nets.encoders.voxel_features import VoxelFeatures, voxel_scales
from allograft.nets.spec import NetSpec

__all__ = ["DECODERS", "ENCODERS", "decoder_factory", "encoder_factory", "parts"]

DEPTHS = (10, 18, 34, 50, 101, 152, 200)

ENCODERS: dict[str, EncoderFactory] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS},
    **{f"resnet{depth}_slim": partial(ResNet, depth, slim=True) for depth in DEPTHS},
    **{f"resnet{depth}_small": partial(ResNet, depth, "small") for depth in DEPTHS},
    **{f"resnet{depth}_slice": partial(ResNet, depth, "slice") for depth in DEPTHS},
    **{f"medicalnet{depth}": partial(ResNet, depth, "medicalnet") for depth in DEPTHS},
    **{f"kinetics{depth}": partial(ResNet, depth, "kinetics") for depth in DEPTHS},
    **{name: partial(CBR, form) for name, form in CBR_FORMS.items()},
    "dense": Dense,
    "genesis": Genesis,
    "scgm": SCGM,
    **{f"i3resnet{depth}": partial(ResNet, depth, "inflated") for depth in DEPTHS},
    "deepbet": Deepbet,
    "voxel_features": VoxelFeatures,
    "voxel_features_position": partial(VoxelFeatures, position=True),
}

DECODERS: dict[str, DecoderFactory] = {
    "unet": UNet,
    "albunet": AlbuNet,
    "dense": DenseDecoder,
    "genesis": GenesisDecoder,
    "linknet": LinkNet,
    "medicalnet": MedicalNetHead,
    "same": Same,
}


def encoder_factory(name: str) -> EncoderFactory:
    """Return what builds the encoder called `name`; "timm:NAME" is any timm network that fits.

    "monai:NAME" is a MONAI network for segmentation: DynUNet, SegResNet or SwinUNETR. In 3-D,
    "timm:NAME" has kernels k x k x k and "timm-slice:NAME" 1 x k x k, for the families that convert.
    "voxel_features:1,2,4" names scales in elements, "voxel_features:1,2,4@3,1,1" in mm with the axes' spacing.

    Raises:
        ConfigError: no such encoder, with the nearest known name.
    """
    library, _, network = name.partition(":")
    if library in {"timm", "timm-slice"} and network:
        from allograft.nets.encoders.timm_encoder import TimmEncoder  # timm takes a second to import

        return partial(TimmEncoder, network, "slice" if library == "timm-slice" else "cube")
    if library == "monai" and network:
        from allograft.nets.encoders.monai_encoder import MonaiEncoder  # MONAI takes seconds to import

        return partial(MonaiEncoder, network)
    if library in {"voxel_features", "voxel_features_position"} and network:
        scales, spacing = voxel_scales(network)
        return partial(VoxelFeatures, scales=scales, spacing=spacing, position=library.endswith("position"))
    if name not in ENCODERS:
        others = "Or timm:NAME, monai:NAME; timm-slice:NAME in 3-D."
        msg = f'net.encoder: no encoder "{name}". {did_you_mean(name, ENCODERS)} {others}'
        raise ConfigError(msg)
    return ENCODERS[name]


def decoder_factory(name: str) -> DecoderFactory | None:
    """Return what builds the decoder called `name`; None for "".

    Raises:
        ConfigError: no such decoder, with the nearest known name.
    """
    if not name:
        return None
    if name not in DECODERS:
        msg = f'net.decoder: no decoder "{name}". {did_you_mean(name, DECODERS)}'
        raise ConfigError(msg)
    return DECODERS[name]


def parts(spec: NetSpec) -> Parts:
    """Return what builds the encoder and the decoder that a spec names.

    Raises:
        ConfigError: a name is unknown, with the nearest known one.
    """
    return Parts(encoder_factory(spec.encoder), decoder_factory(spec.decoder))
