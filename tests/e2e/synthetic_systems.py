"""Synthetic data and tiny settings for the studies in examples/: every file runs, with its own methods, in seconds.

Nothing here is anatomy: images are noise with ellipsoids whose brightness is their class. Only paths, sizes, widths and
steps of a study are changed; its methods, tunings, heads, regions and metrics stay as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from allograft.catalog import DATASETS, encoder_factory
from allograft.core.config import read_yaml
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.datasets.dataset import with_settings
from allograft.weights.card import WeightSource
from allograft.weights.fingerprint import fingerprint, probe_shape
from allograft.weights.source import file_sha256

EXAMPLES = Path(__file__).parents[2] / "examples"
SHAPES = {2: (32, 36), 3: (8, 20, 16)}
WIDTH = 0.125


def synthetic_scene(
    rng: np.random.Generator, shape: tuple[int, ...], classes: int, held: Sequence[int]
) -> tuple[Any, Any]:
    """Return an image of noise and its labels: an ellipsoid for each class that it holds, one beside the other."""
    dims = len(shape)
    grid = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij"))
    labels = np.zeros(shape, np.uint8)
    for value in held:
        centre = rng.uniform(0.4, 0.6, dims)
        centre[-2] = (value - 0.5) / (classes - 1) if classes > 2 else rng.uniform(0.3, 0.7)
        centre[-1] = rng.uniform(0.3, 0.7)
        radius = np.full(dims, 0.25)
        radius[-2] = 0.45 / (classes - 1) if classes > 2 else 0.25
        labels[(((grid - centre.reshape(-1, *[1] * dims)) / radius.reshape(-1, *[1] * dims)) ** 2).sum(0) < 1] = value
    return 100 + 12 * rng.normal(size=shape) + 100 * labels / (classes - 1), labels


def synthetic_table(folder: Path, spec: Mapping[str, Any], shape: tuple[int, ...], *, cases: int, seed: int) -> Path:
    """Write images and the table that a data set of a study asks for; two images a group where groups are videos."""
    rng, dims = np.random.default_rng(seed), len(shape)
    folder.mkdir(parents=True, exist_ok=True)
    images = [spec["image"]] if isinstance(spec["image"], str) else list(spec["image"])
    names = spec["task"].get("classes") or ["no", spec["task"].get("positive", "yes")]
    each = 2 if spec.get("score_by") == "group" else 1
    rows = []
    for number in range(cases):
        value = (number // each) % len(names)
        held = range(1, len(names)) if "mask" in spec else [value] if value else []
        row = {spec["group"]: f"Mustermann{number // each}"}
        for k, column in enumerate(images):
            image, labels = synthetic_scene(np.random.default_rng([seed, number]), shape, len(names), held)
            row[column] = _written(folder / f"{number}-{column}", image + rng.normal(0, 5, image.shape) + 10 * k, dims)
        if "mask" in spec:
            row[spec["mask"]] = _written(folder / f"{number}-mask", labels, dims)
        else:
            row[spec["label"]] = names[value]
        row |= {spec["domain"]: f"site{number % 2}"} if "domain" in spec else {}
        rows.append(row)
    table = folder / "synthetic.csv"
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def random_card(folder: Path, encoder: str, *, channels: int = 3, dims: int = 2) -> Path:
    """Write a card of random tensors, as if trained elsewhere; return the card's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = encoder_factory(encoder)(dims=dims, in_channels=channels, width=WIDTH, drop_path=0.0)
    file = folder / f"{encoder}-random.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, file)
    card = WeightSource(
        name=f"{encoder}-random",
        title="random tensors",
        origin=f"file:{file}",
        sha256=file_sha256(file),
        license="own",
        commercial=True,
        reference=Reference(title="own"),
        encoder=encoder,
        dims=3 if dims == 3 else 2,
        width=WIDTH,
        expects=InputSpec(channels=channels, mean=(0.4,) * channels, std=(0.2,) * channels),
        fingerprint=fingerprint(net, probe_shape(channels, dims, (32,) * dims)),
    )
    path = folder / f"{encoder}-random.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json")), encoding="utf-8")
    return path


def tiny_example(
    name: str,
    folder: Path,
    dims: int,
    *,
    net: Mapping[str, Any],
    donor: str = "",
    shape: tuple[int, ...] = (),
    only: str = "",
    **fields: Any,
) -> tuple[Path, dict[str, Any]]:
    """Write a study of examples/ with data made for it and tiny settings; return its file and what it holds.

    Args:
        name: of the file in examples/.
        folder: where data and study go.
        dims: 2 or 3.
        net: lies over the network of `common`.
        donor: catalog name of the encoder whose random tensors stand for published weights.
        shape: of the images, () for `SHAPES`; at least twice the network's largest stride in a plane.
        only: names of the recipes to keep, in one text; "" for all.
        fields: lie over the study's own.
    """
    text = read_yaml(EXAMPLES / f"{name}.yaml")
    for seed, spec in enumerate([each for part in ("datasets", "auxiliary", "unseen") for each in text.get(part, [])]):
        spec.update(_own_table(spec))
        cases = 18 if spec.get("score_by") == "group" else 6 if "mask" in spec else 12
        spec["path"] = str(synthetic_table(folder / spec["name"], spec, shape or SHAPES[dims], cases=cases, seed=seed))
    text["recipes"] = [recipe for recipe in text["recipes"] if not only or recipe["name"] in only.split()]
    common = text["common"]
    common["net"] = {**common["net"], **net, "dims": dims}
    common["budget"] = {"steps": 4, "batch": 4, "evals": 1}
    own = random_card(folder, donor) if donor else None
    for recipe in (common, *text["recipes"]):
        if recipe.get("source"):
            recipe["source"] = str(own)
    small = {"folds": 3, "test_folds": 1, "seeds": [0], "search": {"lrs": []}}
    if "patches" in text:
        small["patches"] = {"size": [32, 32] if dims == 2 else [8, 32, 32] if shape else [8, 16, 16]}
        small["preprocess"] = {**text["preprocess"]}
        if dims == 2:  # pictures do not say their spacing
            small["preprocess"].pop("spacing", None)
        elif isinstance(small["preprocess"].get("spacing"), list):
            small["preprocess"]["spacing"] = [1] * dims
    text |= {**small, "study": f"{text['study']}, on synthetic data", **fields}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return file, text


def _own_table(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the columns and the task of the table that stands for a data set of a study."""
    columns = {"image": "image", "mask": "mask", "group": "patient"}
    if "dataset" in spec:  # synthetic subjects, whose template a test does not fetch
        settings = spec.pop("settings", {})
        task = with_settings(DATASETS[spec.pop("dataset")], settings, where="examples").task
        return {**columns, "image": settings.get("modalities", "image"), "task": {"classes": list(task.classes)}}
    # Without columns the file names a folder of a known layout; the data made for it are a table.
    return {} if "image" in spec else {**columns, "task": {"classes": ["background", "organ"]}}


def _written(path: Path, array: Any, dims: int) -> str:
    """Write an array as PNG or NIfTI (1 x 1 x 2 mm, stored with flipped axes); return the file's name."""
    labels = array.dtype == np.uint8
    if dims == 2:
        pixels = array if labels else np.clip(np.rint(array), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path.with_suffix(".png"))
        return path.with_suffix(".png").name
    volume = (array if labels else array.astype(np.float32)).T.copy()
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, 1.0, 1.0, 1.0])), path.with_suffix(".nii.gz"))
    return path.with_suffix(".nii.gz").name
