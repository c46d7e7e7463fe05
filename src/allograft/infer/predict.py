"""Predict: from images as they lie on disk to probabilities; an unreadable one is a row, not an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError, NumericsError
from allograft.core.task import Task
from allograft.data.io.image import read_channels
from allograft.data.preprocess import prepare
from allograft.infer.ensemble import Predictor
from allograft.infer.inputs import Input

__all__ = ["Predicted", "Prepared", "decode", "predict_prepared"]

CHUNK = 32
"""Images in a forward pass; as many lie in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image ready for the networks, or why it is not.

    Args:
        name: as the user gave it.
        image: (C, *S) float32, None where it cannot be used.
        error: the reader's message, "" where there is none.
    """

    name: str
    image: npt.NDArray[np.float32] | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was said of one image.

    Args:
        name: as the user gave it.
        probabilities: (L,), None where the image could not be used.
        error: why not.
    """

    name: str
    probabilities: npt.NDArray[np.float64] | None = None
    error: str = ""

    def label(self, task: Task) -> str:
        """Return the most probable class; of a multi-label task every label above 0.5, joined by ";"."""
        if self.probabilities is None:
            return ""
        if task.kind == "multilabel":
            return ";".join(name for name, p in zip(task.classes, self.probabilities, strict=True) if p > 0.5)
        return task.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return float("nan") if self.probabilities is None else float(self.probabilities.max())

    def entropy(self, task: Task) -> float:
        """Return the entropy in nats; of a multi-label task the mean over its yes/no questions."""
        if self.probabilities is None:
            return float("nan")
        p = np.clip(self.probabilities, 1e-300, 1.0)
        if task.kind != "multilabel":
            return float(max(0.0, -(p * np.log(p)).sum()))
        q = np.clip(1 - self.probabilities, 1e-300, 1.0)
        return float(max(0.0, -(p * np.log(p) + q * np.log(q)).mean()))


def decode(inputs: Iterable[Input], predictor: Predictor) -> Iterator[Prepared]:
    """Read and prepare each image as the training images were; what does not fit says why, by name."""
    for item in inputs:
        try:
            image = prepare(read_channels(item.refs, dims=predictor.dims), predictor.preprocess)
            _require_shape(image.shape, predictor.shape)
        except DataError as error:
            text = str(error)
            yield Prepared(name=item.name, error=text if item.name in text else f"{item.name}: {text}")
        else:
            yield Prepared(name=item.name, image=image)


def _require_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got[0] != expected[0]:
        msg = f"the image has {got[0]} channels, the network was trained on {expected[0]}. Export it as those were."
        raise DataError(msg)
    if got != expected:
        msg = (
            f"the image has size {got[1:]}, the network takes {expected[1:]} and the study set no size to resize to. "
            "Resize it as the training images were."
        )
        raise DataError(msg)


def predict_prepared(
    predictor: Predictor, images: Iterable[Prepared], *, on_image: Callable[[int], None] = lambda done: None
) -> Iterator[Predicted]:
    """Yield a prediction for every image, in order.

    Args:
        predictor: one network or several.
        images: of `decode`.
        on_image: called with how many are done.
    """
    source, done = iter(images), 0
    while chunk := list(islice(source, CHUNK)):
        usable = [item.image for item in chunk if item.image is not None]
        rows = iter(_probabilities(predictor, np.stack(usable)) if usable else ())
        for item in chunk:
            done += 1
            row = next(rows) if item.image is not None else None
            if isinstance(row, str):
                yield Predicted(name=item.name, error=f"{item.name}: {row}")
            else:
                yield Predicted(name=item.name, probabilities=row, error=item.error)
            on_image(done)


def _probabilities(predictor: Predictor, images: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float64] | str]:
    """Return a row for each image; where the chunk as a whole fails, one image at a time."""
    try:
        return list(predictor.probabilities(images))
    except NumericsError:
        out: list[npt.NDArray[np.float64] | str] = []
        for image in images:
            try:
                out.append(predictor.probabilities(image[None])[0])
            except NumericsError:
                out.append("the network's output is not finite for this image. Look at it.")
        return out
