"""Modality dropout: never all channels, to what enters the network as 0, and said where there is nothing to drop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.normalise import Normaliser, fit_statistics, normaliser
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.modality_dropout import ModalityDropout
from allograft.testing.transforms import example_image

ALONE = Augment.model_validate(["modality_dropout"])


def synthetic(folder: Path, channels: int, dims: int, **preprocess: str) -> tuple[Cohort, Store]:
    rng = np.random.default_rng(0)
    for k in range(channels):
        np.save(folder / f"{k}.npy", (40 * k + rng.integers(0, 200 - 30 * k, (6, *[8] * dims))).astype(np.uint8))
    cases = tuple(
        Case(id=f"c{i}", image=tuple(ImageRef(folder / f"{k}.npy", row=i) for k in range(channels)), group=f"p{i}")
        for i in range(6)
    )
    cohort = Cohort("synthetic", Task(kind="binary", classes=("a", "b")), cases)
    return cohort, Store.build(cohort, Preprocess.model_validate(preprocess), folder / "stores")


@pytest.mark.parametrize("each", [0.5, 1.0])
@pytest.mark.parametrize("shape", [(2, 6, 5), (4, 5, 4, 3)])
def test_never_all_channels_and_each_as_often(shape: tuple[int, ...], each: float) -> None:
    transform, image, channels = ModalityDropout(each=each), example_image(shape) + 1, shape[0]
    hidden: Counter[int] = Counter()
    for seed in range(400):
        draw = transform.draw(np.random.default_rng(seed), shape)
        out = transform.apply(image, draw)
        gone = [k for k in range(channels) if not out[k].any()]
        assert gone == draw["channels"]
        assert len(gone) < channels
        assert all(torch.equal(out[k], image[k]) for k in range(channels) if k not in gone)
        hidden.update(gone)
    # All hidden at once (each ** channels of the draws) gives one of them back.
    expected = 400 * (each - each**channels / channels)
    assert all(abs(hidden[k] - expected) < 60 for k in range(channels))
    assert each < 1 or set(hidden) == set(range(channels))


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize(("dims", "space"), [(2, "unit"), (3, "unit"), (2, "standard"), (3, "standard")])
def test_dropped_channels_enter_the_network_as_zero_synthetic(
    tmp_path: Path, dims: int, space: str, *, windows: bool
) -> None:
    cohort, store = synthetic(tmp_path, 3, dims, intensity=space)
    expects = fit_statistics(store, cohort.ids) if space == "unit" else None
    to_card = normaliser(expects, store.space, store.channels)
    patches = Patches(size=(6,) * dims) if windows else None
    source = StreamSource(
        cohort=cohort, store=store, batch=6, labelled=False, augment=ALONE, views=1, normalise=to_card, patches=patches
    )
    seen = set()
    for step in range(4):
        batch = StoreStreams({"images": source}, seed=0).at(step)["images"]
        for draws, image in zip(batch.views[0].draws, batch.views[0].image, strict=True):
            (drawn,) = draws["steps"]
            seen.add(tuple(drawn["channels"]))
            for k, channel in enumerate(image):
                assert (float(channel.abs().max()) < 1e-5) == (k in drawn["channels"])
    assert len(seen) > 3


def test_the_neutral_value_is_what_is_mapped_to_zero() -> None:
    mapped = Normaliser(scale=(4.0, 2.0), shift=(-1.0, 3.0))
    assert mapped.neutral == (0.25, -1.5)
    filled = ALONE.for_channels(2, mapped.neutral)
    assert [step.value for step in filled.steps if isinstance(step, ModalityDropout)] == [(0.25, -1.5)]
    assert filled.for_channels(2, mapped.neutral) == filled
    assert Normaliser().neutral == ()
    assert Augment(preset="light").for_channels(2, (0.25, -1.5)) == Augment(preset="light")


def test_one_channel_is_refused_by_name_and_left_out_of_the_preset(tmp_path: Path) -> None:
    cohort, store = synthetic(tmp_path, 1, 2)
    with pytest.raises(ConfigError, match=r"modality_dropout acts on images of at least 2 channels, these have 1"):
        StoreStreams(
            {"images": StreamSource(cohort=cohort, store=store, batch=2, labelled=False, augment=ALONE)}, seed=0
        )
    with pytest.raises(ConfigError, match="at least 2 channels"):
        ModalityDropout().draw(np.random.default_rng(0), (1, 4, 4))
    preset = Augment(preset="medical_views")
    assert preset.unused(1) == ("modality_dropout",)
    assert preset.unused(2) == ()
    plain = StreamSource(cohort=cohort, store=store, batch=2, labelled=False, augment=preset)
    assert [s.kind for s in StoreStreams({"images": plain}, seed=0).sources["images"].augment.steps] == [
        "flip", "crop", "elastic", "intensity", "blur",
    ]  # fmt: skip


def test_values_that_do_not_fit_the_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="value has 3 numbers, images have 2 channels"):
        ModalityDropout(value=(1, 2, 3)).draw(np.random.default_rng(0), (2, 4, 4))


@pytest.mark.parametrize("shape", [(4, 12, 12), (2, 8, 9, 10)])
def test_medical_views_differ_in_place_values_and_channels(shape: tuple[int, ...]) -> None:
    augment = Augment(preset="medical_views")
    draws = [augment.draw(np.random.default_rng(i), shape) for i in range(40)]
    acted = Counter(step["kind"] for draw in draws for step in draw["steps"] if step["applied"])
    assert set(acted) == {"flip", "crop", "elastic", "intensity", "blur", "modality_dropout"}
    images = torch.stack([example_image(shape, i) for i in range(40)])
    together = augment.apply_batch(images, draws)
    assert torch.equal(together, torch.stack([augment.apply(x, d) for x, d in zip(images, draws, strict=True)]))
