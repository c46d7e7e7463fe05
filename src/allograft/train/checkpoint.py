"""Checkpoints: everything a run needs to go on, in one file that is renamed into place.

Tensors and numbers lie in a single safetensors file (the numbers as JSON in its header), so that no
crash can leave one without the other. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from allograft.core.atomic import write_bytes
from allograft.core.errors import ResumeError
from allograft.train.optim import Mover

__all__ = ["Vault", "load_modules", "load_optimizers", "module_tensors", "optimizer_tensors"]

FILE = "checkpoint.safetensors"


class Vault:
    """Where a run keeps its checkpoint and its best weights: a folder, or memory where there is none.

    Args:
        where: the folder, None for memory.
        identity: what a checkpoint must agree on to be continued.
        writes: whether this process writes (the first does).
    """

    def __init__(self, where: Path | None, identity: Mapping[str, str], *, writes: bool = True) -> None:
        self._where, self._identity, self._writes = where, dict(identity), writes
        self._best: dict[int, dict[str, Tensor]] = {}

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best_step: int) -> None:
        """Replace the checkpoint; then drop best weights other than those of `best_step`."""
        if self._where is None or not self._writes:
            return
        if best_step in self._best and not self._best_path(self._where, best_step).exists():
            write_bytes(self._best_path(self._where, best_step), save(_writable(self._best[best_step])))
        header = {"state": json.dumps(state), "identity": json.dumps(self._identity)}
        write_bytes(self._where / FILE, save(_writable(tensors), metadata=header))
        for path in self._where.glob("best-*.safetensors"):
            if path != self._best_path(self._where, best_step):
                path.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and state of the checkpoint, None where there is none.

        Raises:
            ResumeError: the checkpoint cannot be read, or belongs to another training.
        """
        if self._where is None or not (self._where / FILE).exists():
            return None
        tensors, header = _read(self._where / FILE)
        then, now = json.loads(header["identity"]), self._identity
        differing = [k for k in sorted({*then, *now}) if then.get(k) != now.get(k)]
        if differing:
            lines = "\n  ".join(f"{k}: there {then.get(k, 'absent')}, now {now.get(k, 'absent')}" for k in differing)
            msg = f"{self._where}: this folder holds another training. Choose another folder.\n  {lines}"
            raise ResumeError(msg)
        return tensors, json.loads(header["state"])

    def keep_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the weights after `step` steps as the best so far, in memory until the next checkpoint."""
        self._best = {step: {name: tensor.detach().clone() for name, tensor in tensors.items()}}

    def best(self, step: int) -> dict[str, Tensor]:
        """Return the weights kept after `step` steps.

        Raises:
            ResumeError: they are not there or cannot be read.
        """
        if self._where is None or step in self._best:
            return self._best[step]
        return _read(self._best_path(self._where, step))[0]

    def sweep(self) -> None:
        """Remove half-written files that a killed process left behind."""
        if self._where is not None and self._writes:
            for path in self._where.glob(".*.safetensors.*"):
                path.unlink(missing_ok=True)

    @staticmethod
    def _best_path(where: Path, step: int) -> Path:
        return where / f"best-{step}.safetensors"


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return all parameters and persistent buffers, named "module.tensor"."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into modules in place; names and shapes must agree exactly.

    Raises:
        ResumeError: they do not.
    """
    for name, module in modules.items():
        own = {key: tensors[f"{name}.{key}"] for key in module.state_dict() if f"{name}.{key}" in tensors}
        try:
            module.load_state_dict(own, strict=True)
        except RuntimeError as error:
            msg = f"the checkpoint does not fit {name}: {error}. Choose another folder."
            raise ResumeError(msg) from error


def optimizer_tensors(movers: Sequence[Mover]) -> dict[str, Tensor]:
    """Return the optimisers' moments, named "optim/player/tensor/moment"."""
    return {
        f"optim/{mover.player}/{mover.names[parameter]}/{key}": value
        for mover in movers
        for parameter in mover.names
        for key, value in mover.optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizers(movers: Sequence[Mover], tensors: Mapping[str, Tensor]) -> None:
    """Give the optimisers back the moments that `optimizer_tensors` named.

    Raises:
        ResumeError: a moment belongs to no tensor of these players.
    """
    places = {
        f"optim/{mover.player}/{name}": (mover, parameter)
        for mover in movers
        for parameter, name in mover.names.items()
    }
    for key, value in tensors.items():
        if not key.startswith("optim/"):
            continue
        place, _, moment = key.rpartition("/")
        if place not in places:
            msg = f"the checkpoint holds {key}, which no player of this training moves. Choose another folder."
            raise ResumeError(msg)
        mover, parameter = places[place]
        mover.optimizer.state[parameter][moment] = value.to(parameter.device).clone()


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU, none sharing memory with another (safetensors refuses that)."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        out[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return out


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and header of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: torch.clone(file.get_tensor(name)) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        msg = f"{path}: cannot be read ({error}). Remove the folder to train again."
        raise ResumeError(msg) from error
