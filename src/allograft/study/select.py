"""Select: which images of a pool to label next, by networks of a finished run or study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from allograft import catalog
from allograft.core.errors import ConfigError, DataError
from allograft.data.io.image import Image, read_channels
from allograft.data.picture import plane, png
from allograft.data.preprocess import prepare, prepare_case
from allograft.functional.uncertainty import Measure
from allograft.infer.doubt import Passes, element_rows, mask_doubt, noisy
from allograft.infer.ensemble import Member, Predictor, open_bundles
from allograft.infer.features import image_features, windows_of
from allograft.infer.inputs import Input
from allograft.procedures.acquisition.acquisition import Acquisition, Situation
from allograft.procedures.acquisition.measures import entropy
from allograft.study.data_spec import DataSpec, open_cohort
from allograft.study.store import RunStore
from allograft.study.winner import Chosen

__all__ = ["Pick", "Selection", "labelled_inputs", "select"]

THUMBNAIL = 160
"""Side of a thumbnail in pixels (ours)."""


class Pick(NamedTuple):
    """An image to label.

    Args:
        item: as the user named it.
        score: how unsure the networks are of it.
        thumbnail: a PNG.
    """

    item: Input
    score: float
    thumbnail: bytes


class Selection(NamedTuple):
    """What was chosen.

    Args:
        picks: the most wanted first.
        score_is: what the scores are.
        failed: messages about images that could not be used.
        of: images that were compared.
    """

    picks: tuple[Pick, ...]
    score_is: str
    failed: tuple[str, ...]
    of: int


def select(
    chosen: Chosen,
    pool: Sequence[Input],
    acquisition: Acquisition,
    count: int,
    *,
    labelled: Sequence[Input],
    seed: int = 0,
    on_image: Callable[[int], None] = lambda done: None,
) -> Selection:
    """Return `count` images of a pool, chosen by an acquisition.

    Several networks count as passes of one: their mean probabilities are unsure, BALD looks at what they disagree
    about. Features are those of the first network.

    Args:
        chosen: the networks.
        pool: images without labels; those that cannot be read are named and left out.
        acquisition: what chooses.
        count: how many.
        labelled: images with labels, for acquisitions that compare with them.
        seed: of draws.
        on_image: called with how many images were looked at.

    Raises:
        DataError: no image can be used.
        ConfigError: the acquisition needs labelled images or dropout, and there is none.
    """
    reader = _Reader(open_bundles(chosen.bundles, catalog.parts), seed)
    first, failed = _first_look(reader, pool, on_image)
    if not first:
        msg = f"none of {len(pool)} images can be used; first: {failed[0] if failed else 'no image was named'}"
        raise DataError(msg)
    usable = [item for item, *_ in first]
    kept: dict[tuple[Measure, int], npt.NDArray[np.float64]] = {(entropy, 0): np.array([d for _, d, _ in first])}

    def doubt(measure: Measure, passes: int) -> npt.NDArray[np.float64]:
        if (measure, passes) not in kept:
            kept[measure, passes] = np.array([reader.doubt(reader.read(item), measure, passes) for item in usable])
        return kept[measure, passes]

    def features(rows: Sequence[int], level: int) -> npt.NDArray[Any]:
        return reader.features([usable[i] for i in rows], level)

    def known(level: int) -> npt.NDArray[Any]:
        if not labelled:
            msg = f'"{acquisition.name}" compares with labelled images and none are known. Name them with --labelled.'
            raise ConfigError(msg)
        return reader.features(labelled, level)

    state = Situation(tuple(map(str, range(len(usable)))), doubt, features, known)
    ids = acquisition.pick(state, min(count, len(usable)), seed)
    (measure, _), scores = list(kept.items())[-1]
    picks = tuple(Pick(usable[int(i)], float(scores[int(i)]), first[int(i)][2]) for i in ids)
    return Selection(
        picks, f"{measure.__name__}, in bits" if measure.__name__ != "margin" else "margin", failed, len(usable)
    )


def labelled_inputs(chosen: Chosen) -> tuple[Input, ...]:
    """Return the labelled images of the study that the networks are from; none for a bundle on its own."""
    if chosen.study is None:
        return ()
    spec = RunStore(chosen.study).study()["spec"]
    data = next(d for d in spec["study"]["datasets"] if d["name"] == chosen.dataset)
    cohort = open_cohort(DataSpec.model_validate(data), base=Path(spec["base"]), check_files=False)
    return tuple(Input(case.id, case.image) for case in cohort.labelled())


def _first_look(
    reader: _Reader, pool: Sequence[Input], on_image: Callable[[int], None]
) -> tuple[list[tuple[Input, float, bytes]], tuple[str, ...]]:
    """Return entropy and thumbnail of each image, and what is wrong with the others."""
    found, failed = [], []
    for done, item in enumerate(pool, start=1):
        try:
            image = read_channels(item.refs, dims=reader.predictor.dims)
            doubt = reader.doubt(reader.prepared(image), entropy, 0)
            if not math.isfinite(doubt):
                msg = "the network's output is not finite"
                raise DataError(msg)  # noqa: TRY301 - one way to name an image that cannot be used
            found.append((item, doubt, png(plane(image), side=THUMBNAIL)))
        except DataError as error:
            failed.append(str(error) if item.name in str(error) else f"{item.name}: {error}")
        on_image(done)
    return found, tuple(failed)


@dataclass
class _Reader:
    """Networks that look at one image after the other."""

    predictor: Predictor
    seed: int
    _noisy: list[Member] = field(default_factory=list)

    def read(self, item: Input) -> npt.NDArray[np.float32]:
        return self.prepared(read_channels(item.refs, dims=self.predictor.dims))

    def prepared(self, image: Image) -> npt.NDArray[np.float32]:
        """Return (C, *S), prepared as the training images were."""
        predictor = self.predictor
        if predictor.first.patches is not None:
            return prepare_case(image, predictor.preprocess)[0]
        found = prepare(image, predictor.preprocess)
        if found.shape != predictor.shape:
            msg = f"prepared it has shape {found.shape}, the networks take {predictor.shape} (channels, *size)"
            raise DataError(msg)
        return found

    def doubt(self, image: npt.NDArray[np.float32], measure: Measure, passes: int) -> float:
        """Return the doubt of one image."""
        members, each = self._members(passes)
        task, patches = self.predictor.task, self.predictor.first.patches
        if patches is None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)
                p = np.stack([one.probabilities(image[None]) for one in members for _ in range(each)])
            return float(measure(element_rows(p, task)).mean())
        images = [one.bundle.normalise(torch.from_numpy(image)[None])[0] for one in members for _ in range(each)]
        nets = [one.net for one in members for _ in range(each)]
        return mask_doubt(
            nets, images, task, measure, patches=patches, passes=Passes(0, self.seed), precision=members[0].precision
        )

    def features(self, items: Sequence[Input], level: int) -> npt.NDArray[Any]:
        """Return (N, F) of the first network."""
        member, patches = self.predictor.members[0], self.predictor.first.patches
        rows = []
        for item in items:
            x = member.bundle.normalise(torch.from_numpy(self.read(item))[None])
            windows = [x] if patches is None else windows_of(x[0], patches)
            rows.append(image_features(member.net, windows, level).mean(0))
        return np.stack(rows)

    def _members(self, passes: int) -> tuple[Sequence[Member], int]:
        """Return the networks and how often each speaks: with dropout where there is some, else several as they are."""
        members = self.predictor.members
        if not passes:
            return members, 1
        if not self._noisy:
            try:
                self._noisy = [Member(noisy(one.net), one.bundle) for one in members]
            except ConfigError:
                if len(members) < 2:
                    raise
                self._noisy = list(members)
                return self._noisy, 1
        return self._noisy, 1 if self._noisy[0].net is members[0].net else -(-passes // len(members))
