"""Catalog: name -> class, literal dictionaries written by hand; the only registry."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from allograft.contracts import Method, Objective, Procedure, Start, Tuning
from allograft.core.config import config_error, inlined_schema
from allograft.core.errors import ConfigError, did_you_mean
from allograft.datasets.brain_regions import BrainRegions, MacaqueRegions
from allograft.datasets.brain_tissue import BrainTissue
from allograft.datasets.ct_organs import CTOrgans
from allograft.datasets.dataset import Dataset
from allograft.datasets.lung_tumour import LungTumour
from allograft.datasets.nuclei_2d import Nuclei2D
from allograft.datasets.nuclei_3d import Nuclei3D
from allograft.datasets.skin_histology import SkinHistology
from allograft.datasets.synthetic_brains import SyntheticBrains
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
from allograft.nets.spec import NetSpec
from allograft.objectives.gan import GAN
from allograft.objectives.localisation import Localisation
from allograft.objectives.multi_head import MultiHead
from allograft.objectives.supervised import Supervised
from allograft.procedures.finetune import Finetune
from allograft.procedures.gan_pretrain import GANPretrain
from allograft.procedures.pretrain import Pretrain
from allograft.starts.full import Full
from allograft.starts.gabor import Gabor
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.starts.slim import Slim
from allograft.tunings.bias_only import BiasOnly
from allograft.tunings.bn_only import BNOnly
from allograft.tunings.discriminative import Discriminative
from allograft.tunings.frozen import Frozen
from allograft.tunings.full import FullTuning
from allograft.tunings.gradual import Gradual
from allograft.tunings.l2_sp import L2SP
from allograft.tunings.last_k import LastK
from allograft.tunings.lp_ft import LPFT

__all__ = [
    "DATASETS",
    "DECODERS",
    "ENCODERS",
    "NEEDS_NO_SOURCE",
    "OBJECTIVES",
    "PROCEDURES",
    "STARTS",
    "TUNINGS",
    "allow_plugin",
    "decoder_factory",
    "encoder_factory",
    "json_schema",
    "methods",
    "parts",
    "resolve",
    "spell",
]

STARTS: dict[str, type[Start]] = {
    "scratch": Scratch,
    "full": Full,
    "partial": Partial,
    "mean_var": MeanVar,
    "slim": Slim,
    "gabor": Gabor,
}

TUNINGS: dict[str, type[Tuning]] = {
    "full": FullTuning,
    "frozen": Frozen,
    "last_k": LastK,
    "gradual": Gradual,
    "discriminative": Discriminative,
    "lp_ft": LPFT,
    "l2_sp": L2SP,
    "bn_only": BNOnly,
    "bias_only": BiasOnly,
}

DATASETS: dict[str, type[Dataset]] = {
    "brain_regions": BrainRegions,
    "brain_tissue": BrainTissue,
    "ct_organs": CTOrgans,
    "lung_tumour": LungTumour,
    "macaque_regions": MacaqueRegions,
    "nuclei_2d": Nuclei2D,
    "nuclei_3d": Nuclei3D,
    "skin_histology": SkinHistology,
    "synthetic_brains": SyntheticBrains,
}

OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "multi_head": MultiHead,
    "localisation": Localisation,
    "gan": GAN,
}

PROCEDURES: dict[str, type[Procedure]] = {"finetune": Finetune, "pretrain": Pretrain, "gan_pretrain": GANPretrain}

DEPTHS = (10, 18, 34, 50, 101, 152, 200)

ENCODERS: dict[str, EncoderFactory] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS},
    **{f"resnet{depth}_slim": partial(ResNet, depth, slim=True) for depth in DEPTHS},
    **{f"resnet{depth}_small": partial(ResNet, depth, "small") for depth in DEPTHS},
    **{f"resnet{depth}_slice": partial(ResNet, depth, "slice") for depth in DEPTHS},
    **{f"medicalnet{depth}": partial(ResNet, depth, "medicalnet") for depth in DEPTHS},
    **{name: partial(CBR, form) for name, form in CBR_FORMS.items()},
    "dense": Dense,
    "genesis": Genesis,
    "scgm": SCGM,
    **{f"i3resnet{depth}": partial(ResNet, depth, "inflated") for depth in DEPTHS},
    "deepbet": Deepbet,
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

KINDS: dict[str, Mapping[str, type[Any]]] = {
    "start": STARTS,
    "tuning": TUNINGS,
    "objective": OBJECTIVES,
    "procedure": PROCEDURES,
}

NEEDS_NO_SOURCE = frozenset({"scratch", "gabor"})


def encoder_factory(name: str) -> EncoderFactory:
    """Return what builds the encoder called `name`; "timm:NAME" is any timm network that fits.

    "monai:NAME" is a MONAI network for segmentation: DynUNet, SegResNet or SwinUNETR. In 3-D,
    "timm:NAME" has kernels k x k x k and "timm-slice:NAME" 1 x k x k, for the families that convert.

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


def resolve(kind: str, value: object) -> Any:
    """Turn what a study file says into a method: a name, {name: settings} or the method itself.

    Names "module:Class" are taken only for modules allowed by `allow_plugin`.

    Raises:
        ValueError: the name is unknown, with the nearest known one; pydantic places it in the file.
    """
    known = KINDS[kind]
    if isinstance(value, Method):
        return value
    name, settings = _name_and_settings(kind, value)
    found = _plugin(kind, name) if ":" in name else known.get(name)
    if found is None:
        msg = f'no {kind} "{name}". {did_you_mean(name, known)}'
        raise ValueError(msg)
    try:
        return found(**settings)
    except ValidationError as error:
        raise ValueError(str(config_error(error, where=f'{kind} "{name}"', model=found))) from error


def _name_and_settings(kind: str, value: object) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and len(value) == 1:
        name, settings = next(iter(value.items()))
        if isinstance(settings, Mapping) or settings is None:
            return str(name), dict(settings or {})
    msg = f"a {kind} is a name or one name with its settings, like {{name: {{field: value}}}}; got {value!r}"
    raise ValueError(msg)


_PLUGINS: set[str] = set()


def allow_plugin(module: str) -> None:
    """Let study files name classes of `module`; the command line's --plugin calls this.

    The working directory is searched last, so that a file beside the study can be named.
    """
    _PLUGINS.add(module)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _plugin(kind: str, name: str) -> type[Any] | None:
    module, _, cls = name.partition(":")
    if module not in _PLUGINS:
        msg = f'{kind} "{name}" is code outside allograft. To allow it run with --plugin {module}'
        raise ValueError(msg)
    try:
        return getattr(importlib.import_module(module), cls, None)
    except ImportError as error:
        msg = f'{kind} "{name}": the module cannot be imported ({error}). Check its name and the Python path.'
        raise ValueError(msg) from error


def spell(method: Any) -> dict[str, Any]:
    """Return a method as a study file writes it: {name: settings}."""
    known = any(type(method) is cls for kind in KINDS.values() for cls in kind.values())
    name = method.name if known else f"{type(method).__module__}:{type(method).__name__}"
    return {name: method.model_dump(mode="json")}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a method field, so that editors complete study files."""
    named = [
        {"type": "object", "properties": {name: inlined_schema(cls)}, "required": [name], "additionalProperties": False}
        for name, cls in KINDS[kind].items()
    ]
    return {"anyOf": [{"enum": sorted(KINDS[kind])}, *named]}


def methods() -> list[dict[str, str]]:
    """Return every method's name, kind, paper and module, for listings."""
    rows = []
    for kind, table in KINDS.items():
        for name, cls in table.items():
            rows.append({"name": name, "kind": kind, "paper": cls.paper.short(), "module": cls.__module__})
    return rows
