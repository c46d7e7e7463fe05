"""Export as OpenVINO: converted, compiled on the CPU, compared with PyTorch and timed beside it."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allograft.core.errors import ConfigError, MissingExtra
from allograft.infer.deployed import Deployed, compare, example, require_parity
from allograft.infer.ensemble import Predictor

__all__ = ["Speed", "require_openvino", "write_openvino"]

FILE = "model.xml"
RUNS = 9
PATIENCE = 20.0
"""Most seconds that timing takes; at least three runs of each are made."""


class Speed(NamedTuple):
    """Milliseconds of one image or window, medians of interleaved runs."""

    openvino: float
    torch: float
    runs: int
    threads: int


def require_openvino() -> None:
    """Refuse to begin without the package.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("openvino") is None:
        feature, package = "export to OpenVINO", "openvino"
        raise MissingExtra(feature, package, "export")


def write_openvino(folder: Path, predictor: Predictor) -> list[str]:
    """Write model.xml and model.bin (float32), checked and timed; return what the model card says of them.

    Raises:
        MissingExtra: the package is not installed.
        ConfigError: the network has an operation that OpenVINO has not.
        NumericsError: OpenVINO gives other numbers than PyTorch.
    """
    require_openvino()
    import openvino

    module, path = Deployed(predictor), folder / FILE
    openvino.save_model(_convert(module, predictor), str(path), compress_to_fp16=False)
    run = _compiled(path, {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()})
    found = compare(predictor, module, run)
    require_parity(found, "OpenVINO")
    quick = compare(predictor, module, _compiled(path, {}))
    speed = measure(module, run, example(predictor, 1, seed=5))
    what = "window" if module.dense else "image"
    return [
        f"`{FILE}` and `model.bin` hold normalisation, networks and temperatures in float32. Input `image`, output "
        f"`{module.output}`, any batch.",
        found.said("OpenVINO on this CPU in float32"),
        quick.said("OpenVINO with its own choice of precision on this CPU"),
        f"Speed on this CPU, {speed.threads} thread(s), one {what} at a time, medians of {speed.runs} interleaved "
        f"runs: OpenVINO {speed.openvino:.2f} ms, PyTorch {speed.torch:.2f} ms ({speed.torch / speed.openvino:.2f} x).",
    ]


def measure(module: Deployed, run: Callable[[Tensor], Tensor], x: Tensor) -> Speed:
    """Time both on the same input in turn, after a run to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        run(x)
        module(x)
        begun = time.perf_counter()
        while len(times[0]) < RUNS and (len(times[0]) < 3 or time.perf_counter() - begun < PATIENCE):
            calls: tuple[Callable[[Tensor], Tensor], ...] = (run, module)
            for kept, call in zip(times, calls, strict=True):
                before = time.perf_counter()
                call(x)
                kept.append(1000 * (time.perf_counter() - before))
    its, own = (statistics.median(each) for each in times)
    return Speed(its, own, len(times[0]), torch.get_num_threads())


def _convert(module: Deployed, predictor: Predictor) -> Any:
    """Return OpenVINO's graph with its input and output named, for any batch."""
    import openvino

    x = example(predictor, 2, seed=7)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            graph = openvino.convert_model(module, example_input=x, input=[-1, *x.shape[1:]])
        except Exception as error:  # its frontends raise their own kinds
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            msg = (
                f"the network {predictor.first.net.encoder} cannot be written for OpenVINO ({reason}). Nothing was "
                "written; export --format bundle or onnx instead."
            )
            raise ConfigError(msg) from error
    graph.inputs[0].get_tensor().set_names({"image"})
    graph.outputs[0].get_tensor().set_names({module.output})
    return graph


def _compiled(path: Path, settings: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", settings)
    request = model.create_infer_request()

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(request.infer({"image": x.numpy()})[0].copy())

    return run
