"""Export as a MONAI bundle: runs offline, without this package, to the same result."""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from allograft.core.errors import ConfigError
from allograft.infer.bundle_steps import Contract
from allograft.infer.deployed import Deployed, compare, example, require_parity
from allograft.infer.ensemble import Predictor
from allograft.infer.source_copy import copy_source

__all__ = ["COMMAND", "contract_of", "write_monai_bundle"]

COMMAND = (
    "python -m monai.bundle run --config_file configs/inference.json "
    "--meta_file configs/metadata.json --dataset_dir IMAGES --output_dir RESULTS"
)
STEPS = "scripts.infer.bundle_steps"
NEEDS = ("fire", "monai", "nibabel", "numpy", "pillow", "pydantic", "pydicom", "pyyaml", "SimpleITK", "tifffile")
"""Packages that running a bundle needs beside torch; fire is MONAI's own need for its command line."""


def write_monai_bundle(folder: Path, predictor: Predictor) -> list[str]:
    """Write configs/, models/model.ts and scripts/ of a MONAI bundle; return what the model card says of it.

    Raises:
        ConfigError: the network cannot be traced.
        NumericsError: the traced network gives other numbers than the network.
    """
    module = Deployed(predictor)
    path = folder / "models" / "model.ts"
    path.parent.mkdir(parents=True)
    _trace(module, predictor, path)
    found = compare(predictor, module, _read(path))
    require_parity(found, "TorchScript")
    copy_source(folder / "scripts", "allograft.infer.bundle_steps")
    configs = folder / "configs"
    configs.mkdir()
    for name, data in (("inference", _inference(predictor)), ("metadata", _metadata(predictor, module))):
        (configs / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return [
        "A MONAI bundle. In this folder, with IMAGES an image, a folder of images or of one DICOM series, or a table "
        "of paths:",
        f"    {COMMAND}",
        f"It needs torch and {', '.join(NEEDS)}, no network access, and not the package that trained it.",
        _answers(predictor),
        "`models/model.ts` (TorchScript), `scripts/` and `configs/inference.json` are code: running the bundle "
        "executes them. `networks/` holds the same weights as safetensors, which execute nothing.",
        found.said("TorchScript"),
    ]


def contract_of(predictor: Predictor) -> Contract:
    """Return what the exported network expects, and what its outputs mean."""
    first = predictor.first
    return Contract(
        task=predictor.task,
        dims=predictor.dims,
        channels=first.in_channels,
        preprocess=predictor.preprocess,
        size=first.size if first.patches is None else first.patches.size,
        patches=first.patches,
        members=len(predictor),
        scale=first.normalise.scale,
        shift=first.normalise.shift,
    )


def _trace(module: Deployed, predictor: Predictor, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the size is fixed on purpose; MONAI's bundles are TorchScript
        try:
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch does not annotate it
                module, example(predictor, 2, seed=7), check_trace=False
            )
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            msg = (
                f"the network {predictor.first.net.encoder} cannot be traced ({reason}). Export --format onnx instead."
            )
            raise ConfigError(msg) from error
        torch.jit.save(traced, str(path))


def _read(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out, and still what MONAI's tools load
        return torch.jit.load(str(path))  # type: ignore[no-untyped-call]  # torch does not annotate it


def _answers(predictor: Predictor) -> str:
    if predictor.first.patches is None:
        return "RESULTS/predictions.csv has a row for each image: its probabilities, or why it could not be used."
    return (
        "RESULTS holds a NIfTI label map for each image, on the image's own grid, and predictions.csv, which says of "
        "each image where its label map is or why it could not be used."
    )


def _inference(predictor: Predictor) -> dict[str, Any]:
    """Return configs/inference.json; ids are MONAI's own, so that its other tools find the parts."""
    contract = "$@bundle_root + '/configs/contract.json'"
    dense = predictor.first.patches is not None
    windows = {"_target_": f"{STEPS}.Windows", "contract": contract}
    labels = {"_target_": f"{STEPS}.Labels", "contract": contract, "output_dir": "@output_dir"}
    probabilities = {"_target_": f"{STEPS}.Probabilities", "contract": contract}
    prepare = {"_target_": f"{STEPS}.Prepare", "contract": contract}
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/results'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": {"_target_": f"{STEPS}.find", "place": "@dataset_dir", "contract": contract},
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": [prepare]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": windows if dense else {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [labels if dense else probabilities]},
        "evaluator": {
            "_target_": f"{STEPS}.Loop",
            "dataset": "@dataset",
            "files": "@datalist",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "output_dir": "@output_dir",
            "device": "@device",
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(predictor: Predictor, module: Deployed) -> dict[str, Any]:
    """Return configs/metadata.json."""
    task, first = predictor.task, predictor.first
    contract = contract_of(predictor)
    unit = predictor.preprocess.space == "unit"
    channels = {str(i): f"channel {i}" for i in range(first.in_channels)}
    classes = {str(i): name for i, name in enumerate(task.classes)}
    image = {
        "type": "image",
        "format": "prepared",
        "num_channels": first.in_channels,
        "spatial_shape": list(contract.size),
        "dtype": "float32",
        "value_range": [0, 1] if unit else [],
        "is_patch_data": module.dense,
        "channel_def": channels,
    }
    prediction = {
        "type": module.output,
        "format": "segmentation" if module.dense else "classification",
        "num_channels": len(task.classes) * (len(predictor) if module.dense else 1),
        "spatial_shape": list(contract.size) if module.dense else [],
        "dtype": "float32",
        "value_range": [] if module.dense else [0, 1],
        "is_patch_data": module.dense,
        "channel_def": classes,
    }
    return {
        "version": version("allograft"),
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in NEEDS if name not in {"fire", "monai", "numpy"}},
        "name": f"{task.kind} {first.run}",
        "task": f"{task.kind}: {', '.join(task.classes)}",
        "description": f"{len(predictor)} network(s) trained by allograft; see MODEL_CARD.md.",
        "authors": "whoever trained it, see MODEL_CARD.md",
        "copyright": "see the licences in MODEL_CARD.md",
        "intended_use": "Research. Not a medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }
