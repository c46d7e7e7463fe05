"""Predict masks: from images as they lie on disk to label maps on their own grid; one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError, NumericsError
from allograft.data.io.image import Image, read_channels
from allograft.data.preprocess import prepare_case
from allograft.infer.ensemble import Predictor
from allograft.infer.inputs import Input

__all__ = ["Segmented", "segment_inputs"]


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """The label map of one image, or why there is none.

    Args:
        item: the input.
        image: as it was read, before any resampling.
        prepared: (C, *s) as the networks' training images were.
        labels: (*S) class indices on the grid of `image`.
        error: the reader's message, "" where there is none.
    """

    item: Input
    image: Image | None = None
    prepared: npt.NDArray[np.float32] | None = None
    labels: npt.NDArray[Any] | None = None
    error: str = ""


def segment_inputs(
    predictor: Predictor,
    items: Iterable[Input],
    *,
    check: Callable[[Input], None] = lambda item: None,
) -> Iterator[Segmented]:
    """Yield a label map for every input, in order; what cannot be used says why, by name.

    Args:
        predictor: networks of a segmentation.
        items: the inputs.
        check: called before an input is read; its DataError becomes the input's.
    """
    for item in items:
        try:
            check(item)
            image = read_channels(item.refs, dims=predictor.dims)
            prepared, placement = prepare_case(image, predictor.preprocess)
            labels = placement.restore(predictor.segment(prepared))
        except (DataError, NumericsError) as error:
            text = str(error)
            yield Segmented(item=item, error=text if item.name in text else f"{item.name}: {text}")
        else:
            yield Segmented(item=item, image=image, prepared=prepared, labels=labels)
