"""SourceWeights: an opened set of weights; its hash checked, its names mapped, its numbers finite."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.data.origins import content_sha256
from allograft.nets.network import Network, axis_strides
from allograft.weights.card import WeightSource, card_named, cards, read_card
from allograft.weights.fingerprint import fingerprint, probe_shape
from allograft.weights.keymap import DROPPED
from allograft.weights.layout import turn
from allograft.weights.plan import Unused
from allograft.weights.reading.files import MemoryTensors, TensorFile, open_tensors

__all__ = ["SourceWeights", "WeightSource", "card_named", "cards", "file_sha256", "read_card"]


class SourceWeights:
    """An opened source: tensors by their name inside the encoder.

    Make one with `open` (a file) or `of` (a live network).

    Args:
        card: the description.
        tensors: where the tensors are.
        verified: whether the file's hash is known and was found right.

    Raises:
        PlanError: the key map sends two tensors to one name.
    """

    def __init__(self, card: WeightSource, tensors: TensorFile, *, verified: bool = False) -> None:
        mapped = card.keys().apply(tensors.shapes, where=f'card "{card.name}"')
        self.card = card
        self.verified = verified
        self._tensors = tensors
        self._names = mapped.names
        self.shapes: Mapping[str, tuple[int, ...]] = {
            new: turn(card, old, tensors.shapes[old]).shape for new, old in mapped.names.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {new: tensors.dtypes[old] for new, old in mapped.names.items()}
        dropped = tuple(Unused(source=old, shape=tensors.shapes[old], why=DROPPED) for old in mapped.dropped)
        self.unmapped: tuple[Unused, ...] = dropped + tensors.skipped

    @classmethod
    def open(cls, card: WeightSource, path: Path) -> SourceWeights:
        """Open a file as the card describes it; nothing that it holds is executed.

        A file of known hash is only opened; a file of unknown hash is read through once, so that
        numbers that are not finite are found before anything is planned with them.

        Raises:
            PlanError: another hash, unreadable, truncated, unsafe, another container, not finite.
        """
        if card.sha256:
            _check_hash(card, path)
        source = cls(card, open_tensors(path, card.container), verified=bool(card.sha256))
        if not source.verified:
            source.verify()
        return source

    @classmethod
    def of(
        cls,
        net: Network,
        name: str,
        expects: InputSpec,
        encoder: str,
        *,
        seen: tuple[str, ...] = (),
        parent: WeightSource | None = None,
    ) -> SourceWeights:
        """Make a source from a live network: our own pre-training is a source like any other.

        The values are copied, so later training of `net` does not change the source, and the
        encoder's fingerprint is taken; of a network on the meta device there are shapes only, which plans can be
        made with. What `parent` has seen and what its licence forbids holds on.

        Args:
            net: the network; encoder tensors keep their names, others begin "decoder." or "heads.".
            name: name of the new source.
            expects: the input contract it was trained with; its size is the size of the fingerprint's input.
            encoder: catalog name of the encoder.
            seen: data sets it was trained on.
            parent: card of the source it started from.
        """
        state = {key.removeprefix("encoder."): value.detach().clone() for key, value in net.state_dict().items()}
        shapes_only = any(value.is_meta for value in state.values())
        shape = probe_shape(net.shape.in_channels, net.shape.dims, expects.size, least=_least(net))
        card = WeightSource(
            name=name,
            title=f"{encoder} trained by allograft" + (f" from {parent.name}" if parent else ""),
            origin=f"run:{name}",
            license=parent.license if parent else "own",
            commercial=parent.commercial if parent else True,
            reference=Reference(title="own training"),
            seen=tuple(dict.fromkeys((*(parent.seen if parent else ()), *seen))),
            encoder=encoder,
            dims=3 if net.shape.dims == 3 else 2,
            expects=expects,
            classes={head: task.output_names for head, task in net.tasks.items()},
            fingerprint=None if shapes_only else fingerprint(net.encoder, shape),
        )
        held = state if shapes_only else {key: value.cpu() for key, value in state.items()}
        return cls(card, MemoryTensors(held), verified=True)

    @property
    def encoder_name(self) -> str:
        """Catalog name of the encoder that the weights belong to."""
        return self.card.encoder

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, key: object) -> bool:
        return key in self.shapes

    def __getitem__(self, key: str) -> Tensor:
        """Return one tensor by its mapped name, on the CPU.

        Raises:
            KeyError: there is no such tensor.
            PlanError: it holds numbers that are not finite.
        """
        tensor = self._tensors.read(self._names[key])
        bad = _not_finite(tensor)
        if bad:
            msg = (
                f'source "{self.card.name}": tensor {self._names[key]} holds {bad} of {tensor.numel()} numbers that '
                "are not finite. The file is damaged or its training diverged; use another."
            )
            raise PlanError(msg)
        return turn(self.card, self._names[key], tuple(tensor.shape)).of(tensor)

    def file_name(self, key: str) -> str:
        """Return the name that a tensor has in the file."""
        return self._names[key]

    def raw(self, key: str) -> Tensor:
        """Return one tensor as the file has it, finite or not, for those who judge files."""
        return self._tensors.read(self._names[key])

    def verify(self) -> None:
        """Read every tensor once.

        Raises:
            PlanError: a tensor cannot be read or is not finite.
        """
        for key in self:
            self[key]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _least(net: Network) -> int:
    """Return the least side that gives the deepest level statistics of its own, where instance norm needs them."""
    needs = any(isinstance(module, nn.InstanceNorm2d | nn.InstanceNorm3d) for module in net.encoder.modules())
    return 2 * max(max(along) for along in axis_strides(net.shape)) if needs else 0


def _not_finite(tensor: Tensor) -> int:
    """Count the numbers that are not finite; a sum shows whether there can be any, at the speed of memory."""
    if not tensor.is_floating_point():
        return 0
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return 0 if math.isfinite(float(tensor.sum(dtype=wide))) else int((~torch.isfinite(tensor)).sum())


def _check_hash(card: WeightSource, path: Path) -> None:
    """Refuse a file that is not the card's."""
    try:
        got = content_sha256(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path."
        raise PlanError(msg) from error
    if not got.startswith(card.sha256):
        msg = (
            f'{path} is not the file of card "{card.name}": SHA-256 expected {card.sha256}, got {got}. '
            "Fetch it again; if the file is right, correct the card."
        )
        raise PlanError(msg)
