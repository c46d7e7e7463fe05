"""Export as ONNX: normalisation inside, any number of images at a time, checked against onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from allograft.core.errors import ConfigError, MissingExtra
from allograft.infer.deployed import Deployed, Parity, compare, example, require_parity
from allograft.infer.ensemble import Predictor

__all__ = ["require_onnx", "write_onnx"]

FILE = "model.onnx"
LARGEST = 1_900_000_000
"""Bytes of weights above which they lie beside the graph: a protobuf file ends at 2 GiB."""


def require_onnx() -> None:
    """Refuse to begin without the packages.

    Raises:
        MissingExtra: one is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            feature = "export to ONNX"
            raise MissingExtra(feature, package, "export")


def write_onnx(folder: Path, predictor: Predictor) -> list[str]:
    """Write model.onnx, checked; return what the model card says of it.

    Raises:
        MissingExtra: a package is not installed.
        ConfigError: the network has an operation that ONNX has not.
        NumericsError: onnxruntime gives other numbers than PyTorch.
    """
    require_onnx()
    module, path = Deployed(predictor), folder / FILE
    _convert(module, predictor, path)
    found = check_onnx(path, predictor, module)
    require_parity(found, "onnxruntime")
    return [f"`{FILE}` holds normalisation, networks and temperatures.", *_named(module), found.said("onnxruntime")]


def check_onnx(path: Path, predictor: Predictor, module: Deployed) -> Parity:
    """Compare a file, run by onnxruntime on the CPU, with PyTorch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": x.numpy()})[0])

    return compare(predictor, module, run)


def _convert(module: Deployed, predictor: Predictor, path: Path) -> None:
    size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    with _quiet():
        try:
            torch.onnx.export(
                module,
                (example(predictor, 2, seed=7),),
                str(path),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["image"],
                output_names=[module.output],
                external_data=size > LARGEST,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            msg = (
                f"the network {predictor.first.net.encoder} cannot be written as ONNX ({reason}). Nothing was written; "
                "export --format bundle or openvino instead."
            )
            raise ConfigError(msg) from error


def _named(module: Deployed) -> list[str]:
    what = "(batch, members x classes, *window)" if module.dense else "(batch, classes)"
    return [f"Input `image`: float32 (batch, channels, *size), any batch. Output `{module.output}`: float32 {what}."]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own notes away from the user; what fails is raised."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
