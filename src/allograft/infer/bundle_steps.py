"""Bundle steps: what a MONAI bundle does before and behind its network.

This file and what it imports of the package are copied into every exported bundle, so that images are
prepared there by the very code that prepared them for training. MONAI gives the windows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor
from torch.nn import functional as F

from allograft.core.atomic import write_text
from allograft.core.config import Config
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.io.image import read_channels
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess, prepare_case
from allograft.functional.probabilities import most_probable
from allograft.infer.inputs import find_inputs
from allograft.infer.outputs import is_dicom_input, output_files
from allograft.infer.write_nifti import write_nifti

__all__ = ["Contract", "Labels", "Loop", "Prepare", "Probabilities", "Windows", "find"]

TABLE = "predictions.csv"


class Contract(Config):
    """What the network expects and what its outputs mean.

    Args:
        task: what is predicted.
        dims: 2 or 3.
        channels: of an image.
        preprocess: what is done to an image.
        size: spatial size of the network's input: of a window for a segmentation, else of a whole image.
        patches: windows of a segmentation, None for other tasks.
        members: networks behind the one output.
        scale: per channel, of the first network's own map x * scale + shift; empty where it has none.
        shift: per channel.
    """

    task: Task
    dims: int
    channels: int
    preprocess: Preprocess
    size: tuple[int, ...]
    patches: Patches | None = None
    members: int = 1
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a contract from its JSON."""
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))


def find(place: str, contract: str) -> list[dict[str, Any]]:
    """Return the images at `place`, as `allograft predict` finds and names them.

    Args:
        place: an image, a folder of images or of one DICOM series, a table with a column of paths, an array file.
        contract: path of contract.json.

    Returns:
        For each image the `input` and the file `name` of its label map.

    Raises:
        DataError: there is none.
    """
    wants = Contract.read(contract)
    items = find_inputs([place], dims=wants.dims, channels=wants.channels)
    names = output_files(items, ["nifti"])
    return [{"input": item, "name": own["nifti"]} for item, own in zip(items, names, strict=True)]


class Prepare:
    """Read an image and prepare it as those of the training were.

    Args:
        contract: path of contract.json.
    """

    def __init__(self, contract: str) -> None:
        self.contract = Contract.read(contract)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item with `image` (C, *S), its `placement`, and the `original` it was read from.

        Raises:
            DataError: the image cannot be read, or does not fit the network.
        """
        wants = self.contract
        original = read_channels(item["input"].refs, dims=wants.dims)
        array, placement = prepare_case(original, wants.preprocess)
        if len(array) != wants.channels or (wants.patches is None and array.shape[1:] != wants.size):
            msg = f"the prepared image has shape {array.shape}, the network takes {(wants.channels, *wants.size)}."
            raise DataError(msg)
        place = replace(original, array=np.broadcast_to(np.zeros(1, np.uint8), original.array.shape))
        image = torch.from_numpy(np.ascontiguousarray(array))
        return {**item, "image": image, "placement": placement, "original": place}


class Windows(SlidingWindowInferer):  # type: ignore[misc]
    """MONAI's sliding window with the windows of the training; small images are padded with their darkest value.

    Args:
        contract: path of contract.json.
    """

    def __init__(self, contract: str) -> None:
        wants = Contract.read(contract)
        if wants.patches is None:
            msg = f"{contract}: a {wants.task.kind} task has no windows."
            raise ConfigError(msg)
        self.window, self.scale, self.shift = wants.patches.size, wants.scale, wants.shift
        super().__init__(
            roi_size=wants.patches.size,
            sw_batch_size=wants.patches.batch,
            overlap=wants.patches.overlap,
            mode=wants.patches.blend,
            sigma_scale=0.125,
        )

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return blended outputs (1, O, *S) of an image (1, C, *S)."""
        gaps = [max(0, p - n) for p, n in zip(self.window, inputs.shape[2:], strict=True)]
        ends = [end for gap in reversed(gaps) for end in (gap // 2, gap - gap // 2)]
        padded = torch.cat([F.pad(x[:, None], ends, value=v) for x, v in self._filled(inputs)], 1)
        out: Tensor = super().__call__(padded, network, *args, **kwargs)
        inside = [slice(gap // 2, gap // 2 + n) for gap, n in zip(gaps, inputs.shape[2:], strict=True)]
        return out[(slice(None), slice(None), *inside)]

    def _filled(self, inputs: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield each channel (1, *S) and the value that the network sees as the smallest of the whole image."""
        channels = inputs.unbind(1)
        maps = list(zip(self.scale, self.shift, strict=True)) or [(1.0, 0.0)] * len(channels)
        seen = [a * x + b for x, (a, b) in zip(channels, maps, strict=True)]
        darkest = min(float(x.min()) for x in seen)
        yield from ((x, (darkest - b) / a) for x, (a, b) in zip(channels, maps, strict=True))


class Labels:
    """Write the classes of a segmentation on the grid of the input, as NIfTI.

    Args:
        contract: path of contract.json.
        output_dir: where label maps go, under the images' names.
    """

    def __init__(self, contract: str, output_dir: str) -> None:
        self.contract, self.folder = Contract.read(contract), Path(output_dir)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item with its `row`: the file that was written, from logits `pred` (M * O, *S)."""
        classes = self.contract.task.classes
        labels = most_probable(list(item["pred"].float().split(len(classes)))).cpu().numpy()
        kept = labels.astype(np.uint8 if len(classes) <= 256 else np.int16)
        path, original = self.folder / item["name"], item["original"]
        turned = is_dicom_input(item["input"]) and original.dims == 3
        write_nifti(path, item["placement"].restore(kept), original, reverse_axes=turned)
        return {**item, "row": {"labels": str(path)}}


class Probabilities:
    """Turn the network's probabilities into a row of the table.

    Args:
        contract: path of contract.json.
    """

    def __init__(self, contract: str) -> None:
        self.contract = Contract.read(contract)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item with its `row`, from probabilities `pred` (L,)."""
        task, found = self.contract.task, [float(p) for p in item["pred"]]
        above = [name for name, p in zip(task.classes, found, strict=True) if p > 0.5]
        most = task.classes[int(np.argmax(found))]
        numbers = {f"p_{name}": f"{p:.7g}" for name, p in zip(task.classes, found, strict=True)}
        return {**item, "row": {**numbers, "predicted": ";".join(above) if task.kind == "multilabel" else most}}


class Loop:
    """Predict one image after the other; one that cannot be used is a row with its error.

    Args:
        dataset: gives an item for each image.
        files: what each item is, for the table.
        network: the exported network.
        inferer: of the windows, or of the whole image.
        postprocessing: makes the `row` of an item.
        output_dir: where predictions.csv goes.
        device: of the network.
    """

    def __init__(
        self,
        dataset: Sequence[Any],
        files: Sequence[Mapping[str, Any]],
        network: Any,
        inferer: Any,
        postprocessing: Any,
        output_dir: str,
        device: torch.device,
    ) -> None:
        self.dataset, self.files, self.network = dataset, files, network
        self.inferer, self.postprocessing, self.folder, self.device = inferer, postprocessing, output_dir, device

    def run(self) -> None:
        """Predict all images and write the table.

        Raises:
            DataError: some could not be used; the table is written first and says which and why.
        """
        rows = [{"file": item["input"].name, **self._row(i)} for i, item in enumerate(self.files)]
        columns = dict.fromkeys(["file", *(key for row in rows for key in row if key != "error"), "error"])
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(Path(self.folder) / TABLE, text.getvalue())
        failed = [row for row in rows if row.get("error")]
        if failed:
            msg = f"{len(failed)} of {len(rows)} images could not be used; see {TABLE}. First: {failed[0]['error']}"
            raise DataError(msg)

    def _row(self, index: int) -> dict[str, Any]:
        try:
            item = self.dataset[index]
            with torch.inference_mode():
                found = self.inferer(item["image"][None].to(self.device), self.network)[0].cpu()
            if not bool(found.isfinite().all()):
                return {"error": "the network's output is not finite for this image. Look at it."}
            return dict(self.postprocessing({**item, "pred": found})["row"])
        except Exception as error:  # MONAI wraps what a transform raises
            return {"error": str(error.__cause__ or error)}
