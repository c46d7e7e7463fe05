"""A small study on disk: real pictures (2-D), synthetic volumes (3-D), a weight card, and study files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from skimage import data as pictures
from typer.testing import CliRunner, Result

from allograft.catalog import encoder_factory
from allograft.cli import app
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.weights.card import WeightSource
from allograft.weights.fingerprint import fingerprint, probe_shape
from allograft.weights.source import file_sha256

PATIENTS = 9
CLASSES = ("grass", "gravel")
SIDE = 24
WIDTH = 0.25

SMALL: dict[str, Any] = {
    "net": {"encoder": "cbr_tiny", "width": WIDTH},
    "budget": {"steps": 8, "batch": 4, "evals": 2},
    "augment": {"preset": "none"},
}


def patient(number: int) -> str:
    """Return a name that no file of a study may show."""
    return f"Mustermann{number:02d}"


def real_pictures(folder: Path, *, patients: int = PATIENTS, each: int = 2) -> Path:
    """Cut grey patches of two real pictures, brightness and contrast evened out; return the table.

    Every "patient" owns a region of each picture, so each holds both classes.
    """
    (folder / "png").mkdir(parents=True, exist_ok=True)
    whole = {"grass": pictures.grass(), "gravel": pictures.gravel()}
    rows = ["image,label,patient_id,site"]
    for name in CLASSES:
        cells = _cells(whole[name], 2 * SIDE)
        for number in range(patients):
            for i in range(each):
                file = f"png/{patient(number)}-{name}-{i}.png"
                patch = cells[number * each + i].reshape(SIDE, 2, SIDE, 2).mean((1, 3))
                even = 128 + 45 * (patch - patch.mean()) / patch.std()
                Image.fromarray(np.clip(np.rint(even), 0, 255).astype(np.uint8)).save(folder / file)
                rows.append(f"{file},{name},{patient(number)},site{number % 2}")
    table = folder / "pictures.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def synthetic_volumes(folder: Path, *, side: int = 12) -> Path:
    """Write synthetic volumes in MedMNIST's layout: class 1 has a bright ball. Return the file."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"))
    arrays: dict[str, Any] = {}
    for split, count in (("train", 16), ("val", 8), ("test", 10)):
        labels = np.arange(count) % 2
        noise = rng.uniform(0, 120, (count, side, side, side))
        centre = rng.uniform(side / 3, 2 * side / 3, (count, 3, 1, 1, 1))
        ball = ((grid - centre) ** 2).sum(1) < (side / 4) ** 2
        arrays[f"{split}_images"] = (noise + 100 * ball * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "synthetic_balls.npz"
    np.savez(path, **arrays)
    return path


def random_card(folder: Path, dims: int, *, channels: int = 1) -> Path:
    """Write a card of `cbr_tiny` with random tensors, as if trained elsewhere; return the card's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        encoder = encoder_factory("cbr_tiny")(dims=dims, in_channels=channels, width=WIDTH, drop_path=0.0)
        for key, value in encoder.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.add_(0.05 * torch.randn_like(value))
    file = folder / f"random{dims}.safetensors"
    save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, file)
    card = WeightSource(
        name=f"random{dims}",
        title="random tensors",
        origin=f"file:{file}",
        sha256=file_sha256(file),
        license="own",
        commercial=True,
        reference=Reference(title="own"),
        encoder="cbr_tiny",
        dims=3 if dims == 3 else 2,
        width=WIDTH,
        expects=InputSpec(channels=channels, mean=(0.4,) * channels, std=(0.2,) * channels),
        fingerprint=fingerprint(encoder, probe_shape(channels, dims, (16,) * dims)),
    )
    path = folder / f"random{dims}.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json")), encoding="utf-8")
    return path


def every_start_and_tuning(card: Path) -> list[dict[str, Any]]:
    """Return recipes that use every start and every tuning of the catalog."""
    donor: dict[str, Any] = {"source": str(card)}
    slim = {**donor, "net": {"encoder": "cbr_tiny_slim"}}
    starts = [
        {"name": "scratch", "start": "scratch"},
        {"name": "frozen-random", "start": "scratch", "tuning": "frozen"},
        {"name": "gabor", "start": "gabor"},
        {"name": "partial", "start": {"partial": {"until": "stage1"}}, **donor},
        {"name": "mean-var", "start": "mean_var", **donor},
        {"name": "slim", "start": {"slim": {"until": "stage1"}}, **slim},
    ]
    tunings = ("full", "frozen", "last_k", "gradual", "discriminative", "lp_ft", "l2_sp", "bn_only", "bias_only")
    return starts + [{"name": f"full.{name}", "start": "full", "tuning": name, **donor} for name in tunings]


def study_file(data: Path, recipes: Sequence[dict[str, Any]], *, name: str = "study.yaml", **fields: Any) -> Path:
    """Write a study file beside the data; `common` and other fields lie over small defaults."""
    volumes = data.suffix == ".npz"
    common = {**SMALL, "net": {**SMALL["net"], "dims": 3 if volumes else 2}, **fields.pop("common", {})}
    columns = {} if volumes else {"image": "image", "label": "label", "group": "patient_id", "domain": "site"}
    text = {
        "study": "tiny",
        "datasets": [{"name": "volumes" if volumes else "pictures", "path": data.name, **columns}],
        "baseline": recipes[0]["name"],
        "folds": 3,
        "seeds": [0],
        "search": {"lrs": []},
        "common": common,
        "recipes": list(recipes),
        **({"preprocess": {"size": [8, 8, 8]}} if volumes else {}),
        **fields,
    }
    path = data.parent / name
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


def run_json(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Call the command line in this process and read the JSON that it writes."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return dict(json.loads(result.stdout))


def private_home(folder: Path, monkeypatch: Any) -> Path:
    """Give the tests a salt of their own, one thread and a settled precision (measuring would make tests differ)."""
    from allograft.train import precision

    monkeypatch.setattr("allograft.study.prepared.processors", lambda: 1)
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("ALLOGRAFT_HOME", str(home))
    known = {f"{precision.cpu_name()} | torch {torch.__version__} | {n} threads": 1.0 for n in range(1, 257)}
    (home / "device.json").write_text(json.dumps(known), encoding="utf-8")
    return home


def _cells(picture: Any, side: int) -> list[Any]:
    rows, columns = (length // side for length in picture.shape)
    return [picture[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(rows) for c in range(columns)]
