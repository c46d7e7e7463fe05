"""Doubt: how unsure a network is of a case, by any measure of its probabilities, with or without noise in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.patches import Patches
from allograft.functional.probabilities import probabilities
from allograft.functional.uncertainty import Measure
from allograft.infer.coverage import cover
from allograft.infer.windows import Precision, Reader, blended
from allograft.nets.modes import evaluating
from allograft.nets.network import Network

__all__ = ["PLAIN", "Passes", "case_doubt", "element_rows", "mask_doubt", "noisy", "require_dropout"]

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Passes(NamedTuple):
    """Noisy passes through a network: how many (0: one without noise), and the seed of the dropout."""

    number: int = 0
    seed: int = 0


PLAIN = Passes()


def case_doubt(
    nets: Iterable[Network],
    images: Iterable[Tensor],
    task: Task,
    measure: Measure,
    *,
    passes: Passes = PLAIN,
    precision: Precision = "32-true",
) -> npt.NDArray[np.float64]:
    """Return the doubt (N,) of classified images; of several labels of an image the mean over these.

    Args:
        nets: at least one; each gives its `passes`, or one without noise.
        images: batches (B, C, *S), normalised.
        task: binary, multiclass or multilabel.
        measure: from (K, E, C) to (E,).
        passes: with dropout at work.
        precision: of the arithmetic.

    Raises:
        ConfigError: noise is asked of a network without dropout, or the task has no probabilities.
    """
    found, own = [], _passing(nets, passes)
    for number, x in enumerate(images):
        rows = []
        for k, net in enumerate(own):
            with _drawn(passes.seed, number, k), evaluating(net), _low(net, precision):
                logits = net(x.to(next(net.parameters()).device)).logits[task.head]
            rows.append(probabilities(logits.float().cpu(), task.kind).double().numpy())
        found.append(_mean(measure, np.stack(rows), task))
    return np.concatenate(found)


def mask_doubt(
    nets: Iterable[Network],
    image: Tensor | Sequence[Tensor],
    task: Task,
    measure: Measure,
    *,
    patches: Patches,
    passes: Passes = PLAIN,
    precision: Precision = "32-true",
) -> float:
    """Return the mean doubt of the elements of an image (C, *S), segmented by windows; tile by tile.

    Several networks may each be given their own `image` of one size, where their normalisation differs.
    """
    readers = [Reader(net, task.head, patches, precision) for net in _passing(nets, passes)]
    images = [image] * len(readers) if isinstance(image, Tensor) else list(image)
    together = cover(tuple(images[0].shape[1:]), patches, channels=sum(reader.channels + 1 for reader in readers))
    own = [blended(reader, each, together) for reader, each in zip(readers, images, strict=True)]
    total, count = 0.0, 0
    with _drawn(passes.seed):
        for members in zip(*own, strict=True):
            p = np.stack([logits.softmax(0).flatten(1).T.double().cpu().numpy() for _, logits in members])
            total += float(measure(p).sum())
            count += p.shape[1]
    return total / count


def element_rows(p: npt.NDArray[Any], task: Task) -> npt.NDArray[np.float64]:
    """Return probabilities (K, B, L) as (K, E, C) with rows that sum to 1: several labels become elements."""
    if task.kind != "multilabel":
        return p
    return np.stack([1 - p, p], axis=-1).reshape(len(p), -1, 2)


def require_dropout(net: Network) -> None:
    """Refuse a network whose passes would all be alike.

    Raises:
        ConfigError: it has no dropout.
    """
    if not any(_drops(module) for module in net.modules()):
        msg = "passes with dropout are asked of a network without any, so all would be alike. Set net.dropout above 0."
        raise ConfigError(msg)


def noisy(net: Network) -> Network:
    """Return a copy whose dropout stays at work in evaluation; normalisation does not.

    Raises:
        ConfigError: the network has no dropout.
    """
    require_dropout(net)
    made = copy.deepcopy(net)
    owners = [(owner, name) for owner in made.modules() for name, child in owner.named_children() if _drops(child)]
    for owner, name in owners:
        setattr(owner, name, _Always(getattr(owner, name)))
    return made


class _Always(nn.Module):
    """Dropout that no evaluation mode turns off."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        self.inner.training = True
        out: Tensor = self.inner(x)
        return out


def _drops(module: nn.Module) -> bool:
    return isinstance(module, _DROPOUTS) and float(module.p) > 0


def _passing(nets: Iterable[Network], passes: Passes) -> list[Network]:
    """Return a network for each pass."""
    given = list(nets)
    return [made for net in given for made in [noisy(net)] * passes.number] if passes.number else given


def _mean(measure: Measure, p: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float64]:
    return np.asarray(measure(element_rows(p, task)).reshape(p.shape[1], -1).mean(axis=1))


@contextmanager
def _drawn(*seed: int) -> Iterator[None]:
    """Draw in torch by a seed of its own; the global state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for("doubt", *seed))
        yield


def _low(net: Network, precision: Precision) -> torch.autocast:
    device = next(net.parameters()).device
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")
