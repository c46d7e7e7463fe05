"""Import: any file of weights as a safetensors file with its card beside it, checked before it is there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml
from safetensors.torch import save_file

from allograft.core.atomic import write_text
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.study.check_weights import build_encoder
from allograft.weights.card import WeightSource
from allograft.weights.coverage import Shares, encoder_shares, wanted
from allograft.weights.fingerprint import fingerprint, probe_shape
from allograft.weights.probe import load_reference
from allograft.weights.source import SourceWeights, file_sha256

__all__ = ["Imported", "import_weights"]


class Imported(Config):
    """What was written.

    Args:
        file: the tensors.
        card: the card beside it.
        name: name of the card.
        sha256: of the tensors' file.
        tensors: how many it holds.
        coverage: shares of the encoder that arrived, in [0, 1].
        proof: "fingerprint" where the card had one and the weights gave it; "unproven" where it had none. The new
            card then holds the fingerprint of these weights: it proves later copies, not this file.
    """

    file: str
    card: str
    name: str
    sha256: str
    tensors: int
    coverage: Shares
    proof: str


def import_weights(path: Path, card: WeightSource, out: Path, *, container: str | None = None) -> Imported:
    """Write the mapped tensors of a file to `out` and their card beside it, with ending .yaml.

    Args:
        path: a file or folder that `weights.contents.read_content` opens.
        card: what describes it.
        out: new file, ending in .safetensors.
        container: dotted path to the tensors inside the file, in place of the card's.

    Raises:
        ConfigError: `out` has another ending, or it or its card exists.
        PlanError: the file cannot be opened, is not the card's, misses the card's fingerprint, a tensor of the
            encoder is missing, or less than 95 % of it arrives; names the cause.
    """
    beside = out.with_suffix(".yaml")
    _require_new(out, beside)
    card = card if container is None else card.model_copy(update={"container": container})
    source = SourceWeights.open(card, path)
    encoder = load_reference(source, build_encoder(card))
    mark = card.fingerprint or fingerprint(encoder, probe_shape(card.expects.channels, card.dims, card.expects.size))
    digest = _write_tensors(source, out)
    changes = {
        "origin": f"file:{out.name}",
        "sha256": digest,
        "container": "",
        "key_map": (),
        "layout": "torch",
        "kernel_axes": (),
        "fingerprint": mark,
    }
    new = WeightSource.model_validate({**card.model_dump(), **changes})
    write_text(beside, yaml.safe_dump(new.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return Imported(
        file=str(out),
        card=str(beside),
        name=new.name,
        sha256=digest,
        tensors=len(source),
        coverage=encoder_shares(wanted(encoder), source),
        proof="fingerprint" if card.fingerprint else "unproven",
    )


def _require_new(out: Path, beside: Path) -> None:
    """Refuse to write over anything."""
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: expected a name that ends in .safetensors.")
    for each in (out, beside):
        if each.exists():
            raise ConfigError(f"{each} exists; nothing is written over it. Choose another name or remove it.")


def _write_tensors(source: SourceWeights, out: Path) -> str:
    """Write all tensors aside, move the file into place, and return its SHA-256."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    os.close(handle)
    scratch = Path(aside)
    try:
        save_file({key: source[key].clone() for key in source}, scratch)
        digest = file_sha256(scratch)
        scratch.chmod(0o644)
        os.link(scratch, out)  # unlike a rename it fails where another writer was first
    except FileExistsError as error:
        raise ConfigError(f"{out} exists; nothing is written over it. Choose another name.") from error
    finally:
        scratch.unlink(missing_ok=True)
    return digest
