"""Catalog: name -> class, literal dictionaries written by hand; the only registry."""

from __future__ import annotations

from allograft.catalog.datasets import DATASETS
from allograft.catalog.names import allow_plugin, json_schema, methods, resolve, spell
from allograft.catalog.networks import DECODERS, ENCODERS, decoder_factory, encoder_factory, parts
from allograft.catalog.registry import (
    ACQUISITIONS,
    KINDS,
    NEEDS_NO_SOURCE,
    OBJECTIVES,
    PROCEDURES,
    STARTS,
    TUNINGS,
    VOXEL_MODELS,
)

__all__ = [
    "ACQUISITIONS",
    "DATASETS",
    "DECODERS",
    "ENCODERS",
    "KINDS",
    "NEEDS_NO_SOURCE",
    "OBJECTIVES",
    "PROCEDURES",
    "STARTS",
    "TUNINGS",
    "VOXEL_MODELS",
    "allow_plugin",
    "decoder_factory",
    "encoder_factory",
    "json_schema",
    "methods",
    "parts",
    "resolve",
    "spell",
]
