"""Predictor: one network or several, each at its own temperature, probabilities averaged.

Idea      Networks that were trained on other folds or from other seeds err in different places; the
          mean of their honest probabilities is better than any one of them, and nobody has to choose
          the one that was luckiest on test.
Paper     Lakshminarayanan, Pritzel, Blundell. NeurIPS 2017. arXiv:1612.01474
Formula   p(y | x) = 1/M sum_m softmax(z_m(x) / T_m), T_m fitted on the validation cases of m
Differs   Members also differ in their training folds, not only in their seeds.
Checked   tests/unit/cli/test_cli_predict.py: the mean by hand; one member is that network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.preprocess import Preprocess
from allograft.functional.probabilities import probabilities
from allograft.infer.bundle import Bundle, load_bundle, own_device
from allograft.infer.forward import predict
from allograft.infer.segment import segment
from allograft.infer.windows import Precision
from allograft.nets.build import Parts
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec

__all__ = ["Member", "Predictor", "open_bundles"]


@dataclass(frozen=True)
class Member:
    """One network with what it expects."""

    net: Network
    bundle: Bundle

    @property
    def precision(self) -> Precision:
        """Of the arithmetic, as in training."""
        return "bf16-mixed" if self.bundle.precision == "bf16-mixed" else "32-true"

    def probabilities(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return (B, L) probabilities at the network's temperature.

        Args:
            images: (B, C, *S), prepared.

        Raises:
            NumericsError: an output is not finite.
        """
        bundle = self.bundle
        ids = tuple(str(i) for i in range(len(images)))
        batch = Batch(image=bundle.normalise(torch.from_numpy(images)), ids=ids)
        groups = dict(zip(ids, ids, strict=True))
        task, views = bundle.task, bundle.views
        found = predict(self.net, [batch], task, groups=groups, precision=self.precision, views=views)
        scaled = torch.from_numpy(found.logits).double() / bundle.temperature
        out: npt.NDArray[np.float64] = probabilities(scaled, bundle.task.kind).numpy()
        return out


@dataclass(frozen=True)
class Predictor:
    """What gives predictions for new images.

    Args:
        members: at least one; all with the same task and the same preparation of images.

    Raises:
        DataError: no members, or they differ in task, channels, size, preparation or windows.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            msg = "a predictor needs at least one network."
            raise DataError(msg)
        for member in self.members[1:]:
            for field in ("task", "in_channels", "preprocess", "size", "patches"):
                one, other = getattr(self.first, field), getattr(member.bundle, field)
                if one != other:
                    msg = (
                        f"the networks of runs {self.first.run} and {member.bundle.run} differ in {field}: {one} and "
                        f"{other}. Only networks of one recipe on one data set can be averaged."
                    )
                    raise DataError(msg)

    @property
    def first(self) -> Bundle:
        """The first network's bundle: what all have in common."""
        return self.members[0].bundle

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.first.task

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.first.net.dims

    @property
    def preprocess(self) -> Preprocess:
        """What is done to an image first."""
        return self.first.preprocess

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *S) of a prepared image."""
        return (self.first.in_channels, *self.first.size)

    @property
    def notes(self) -> tuple[str, ...]:
        """Licences and notes that must reach whoever uses the predictions."""
        bundles = [member.bundle for member in self.members]
        licences = [f"made from {text}" for bundle in bundles for text in bundle.licences]
        return tuple(dict.fromkeys((*licences, *(note for bundle in bundles for note in bundle.notes))))

    def __len__(self) -> int:
        return len(self.members)

    def probabilities(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return (B, L): the members' probabilities, averaged.

        Args:
            images: (B, C, *S), prepared.

        Raises:
            DataError: the images have another shape than the networks were trained on.
        """
        if images.shape[1:] != self.shape:
            msg = f"images have shape {images.shape[1:]}, the networks take {self.shape} (channels, *size)."
            raise DataError(msg)
        found = [member.probabilities(images) for member in self.members]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)

    def segment(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8] | npt.NDArray[np.int16]:
        """Return the class of the largest mean probability for every element, (*S).

        Every network sees the image through its own normalisation.

        Args:
            image: (C, *S), prepared; of any size.

        Raises:
            DataError: the networks make no segmentation, or the image has other axes or channels.
            NumericsError: an output is not finite.
        """
        patches, task = self.first.patches, self.task
        if patches is None:
            msg = f"the networks answer a {task.kind} task and label no elements. Ask for probabilities."
            raise DataError(msg)
        if (got := len(image)) != self.first.in_channels:
            msg = f"the image has {got} channels, the networks were trained on {self.first.in_channels}."
            raise DataError(msg)
        nets = [member.net for member in self.members]
        raw, device = torch.from_numpy(np.ascontiguousarray(image))[None], next(nets[0].parameters()).device
        made = {own: own(raw)[0].to(device) for own in {member.bundle.normalise for member in self.members}}
        images = [made[member.bundle.normalise] for member in self.members]
        return segment(nets, images, head=task.head, patches=patches, precision=self.members[0].precision)


def open_bundles(folders: Sequence[Path], parts: Callable[[NetSpec], Parts]) -> Predictor:
    """Open the bundles in `folders` as one predictor, on CUDA where there is one.

    Args:
        folders: of bundles.
        parts: the catalog's `parts`.

    Raises:
        DataError: a bundle is damaged, or they do not belong together.
    """
    members = []
    for folder in folders:
        net, bundle = load_bundle(folder, parts)
        members.append(Member(net.to(own_device()), bundle))
    return Predictor(tuple(members))
