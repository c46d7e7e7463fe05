"""Bundle: a trained network in one folder: weights, what it is, what it expects, how it came about.

FOLDER/model.safetensors     every tensor of the network
FOLDER/bundle.json           the `Bundle`
FOLDER/card.yaml             a weight card, so that a finished run is a source like any other
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from allograft.core.atomic import write_text
from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.infer.views import Views
from allograft.nets.build import Parts, build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.weights.source import SourceWeights

__all__ = ["Bundle", "load_bundle", "save_bundle"]


class Bundle(Config):
    """What is needed to use a trained network.

    Args:
        net: which network.
        task: what it predicts.
        in_channels: channels of its input.
        preprocess: what is done to an image.
        normalise: from preprocessed values to the network's input.
        size: spatial size that it was trained at.
        patches: windows of a segmentation, None for other tasks.
        views: what is made of an image before it is predicted, "plain" or "ten_crop".
        temperature: logits are divided by it; fitted on validation, 1 for none.
        precision: of the arithmetic in training.
        run: id of the run that made it.
        licences: of the weights that it was made from.
        notes: what a user must know.
    """

    net: NetSpec
    task: Task
    in_channels: int
    preprocess: Preprocess
    normalise: Normaliser
    size: tuple[int, ...]
    patches: Patches | None = None
    views: Views = "plain"
    temperature: float = 1.0
    precision: str = "32-true"
    run: str
    licences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def save_bundle(folder: Path, bundle: Bundle, net: Network, card: SourceWeights) -> None:
    """Write a bundle into an existing folder; finishing the folder is the caller's rename."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, folder / "model.safetensors")
    write_text(folder / "bundle.json", bundle.model_dump_json(indent=1))
    written = card.card.model_copy(update={"key_map": ((r"encoder\.(.+)", r"\1"),)})
    write_text(folder / "card.yaml", yaml.safe_dump(written.model_dump(mode="json"), sort_keys=False))


def load_bundle(folder: Path, parts: Callable[[NetSpec], Parts]) -> tuple[Network, Bundle]:
    """Read a bundle; nothing in it is executed.

    Args:
        folder: the bundle's folder.
        parts: the catalog's `parts`.

    Raises:
        DataError: files are missing, damaged or do not fit each other.
    """
    try:
        bundle = Bundle.model_validate_json((folder / "bundle.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValidationError, ValueError) as error:
        msg = (
            f"{folder}: not a readable bundle ({error}). Expected bundle.json and model.safetensors of a finished run."
        )
        raise DataError(msg) from error
    net = build_network(
        bundle.net,
        {bundle.task.head: bundle.task},
        in_channels=bundle.in_channels,
        seed=0,
        parts=parts(bundle.net),
    )
    missing = sorted(net.state_dict().keys() ^ tensors.keys())
    if missing:
        msg = f"{folder}: tensors and network do not fit, first {missing[0]} ({len(missing)} differ)."
        raise DataError(msg)
    net.load_state_dict(tensors)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    net.eval()
    return net, bundle


def own_device() -> torch.device:
    """Return where predictions are made: CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
