from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allograft.core.errors import ConfigError, DataError
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.feature_streams import FeatureSource, FeatureStreams
from allograft.data.normalise import normaliser
from allograft.data.order import balanced_places, places
from allograft.data.prefetch import prefetch
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment

TASK = Task(kind="multiclass", classes=("a", "b", "c"))
COUNT = 11


@pytest.fixture(scope="module", params=[2, 3])
def synthetic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Store]:
    folder = tmp_path_factory.mktemp("streams")
    images = np.random.default_rng(0).integers(0, 255, (COUNT, *[9] * request.param), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    cases = tuple(
        Case(id=f"c{i}", image=(ImageRef(folder / "images.npy", row=i),), targets={"label": i % 3}, group=f"p{i}")
        for i in range(COUNT)
    )
    cohort = Cohort("synthetic", TASK, cases)
    return cohort, Store.build(cohort, Preprocess(), folder / "stores")


def streams_of(data: tuple[Cohort, Store], seed: int = 3, **changes: Any) -> StoreStreams:
    fields: dict[str, Any] = {
        "cohort": data[0],
        "store": data[1],
        "batch": 4,
        "augment": Augment(preset="light"),
        "views": 1,
    }
    return StoreStreams({"train": StreamSource(**{**fields, **changes})}, seed=seed)


def same(a: Mapping[str, Batch], b: Mapping[str, Batch]) -> bool:
    x, y = a["train"], b["train"]
    assert isinstance(x.image, torch.Tensor)
    assert isinstance(y.image, torch.Tensor)
    return (
        x.ids == y.ids
        and torch.equal(x.image, y.image)
        and all(torch.equal(v.image, w.image) and v.draws == w.draws for v, w in zip(x.views, y.views, strict=True))
        and all(torch.equal(x.targets[k], y.targets[k]) for k in x.targets)
    )


def test_a_batch_is_a_pure_function_of_seed_and_step(synthetic: tuple[Cohort, Store]) -> None:
    streams = streams_of(synthetic)
    walked = [streams.at(step) for step in range(9)]
    assert same(walked[7], streams.at(7))
    assert same(walked[7], streams_of(synthetic).at(7))  # without the steps before it: resuming
    assert [same(streams_of(synthetic).at(s), walked[s]) for s in (8, 2, 5)] == [True] * 3
    assert not same(walked[7], streams_of(synthetic, seed=4).at(7))
    assert not same(walked[7], walked[6])


@given(count=st.integers(1, 40), batch=st.integers(1, 90), seed=st.integers(0, 2**40), name=st.sampled_from(["a", "b"]))
@settings(max_examples=60, deadline=None)
def test_each_case_comes_once_an_epoch_and_batches_are_full(count: int, batch: int, seed: int, name: str) -> None:
    steps = -(-3 * count // batch)
    batches = [places(seed, name, count, batch, step) for step in range(steps)]
    assert {len(b) for b in batches} == {batch}
    run = [i for b in batches for i in b]
    for epoch in range(3):
        assert sorted(run[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_stream_names_give_different_orders() -> None:
    first = [places(0, "train", 50, 50, step) for step in range(3)]
    assert len({tuple(x) for x in first}) == 3
    assert places(0, "other", 50, 50, 0) != first[0]
    assert places(1, "train", 50, 50, 0) != first[0]


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_balance_gives_every_class_equally_often_and_every_case_of_it(sizes: list[int], seed: int) -> None:
    ends = np.cumsum([0, *sizes])
    classes = [list(range(a, b)) for a, b in pairwise(ends)]
    length = len(classes) * max(sizes)
    drawn = [i for step in range(length) for i in balanced_places(seed, "train", classes, 2, step)]
    counts = Counter(drawn)
    per_class = [sum(counts[i] for i in members) for members in classes]
    assert set(per_class) == {2 * length // len(classes)}
    for members in classes:
        own = [counts[i] for i in members]
        assert max(own) - min(own) <= 1
    for start in range(0, len(drawn), len(classes)):
        block = drawn[start : start + len(classes)]
        assert len({int(np.searchsorted(ends, i, side="right")) for i in block}) == len(classes)


def test_balance_acts_in_the_stream_and_leaves_unlabelled_cases_out(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    skewed = cohort.with_targets({**{f"c{i}": {"label": 0} for i in range(9)}, "c9": {"label": 2}, "c10": {}})
    seen = Counter(
        int(y) for s in range(20) for y in streams_of((skewed, store), balance=True).at(s)["train"].targets["label"]
    )
    assert seen == {0: 40, 2: 40}
    plain = Counter(int(y) for s in range(20) for y in streams_of((skewed, store)).at(s)["train"].targets["label"])
    assert plain[2] < 15
    with pytest.raises(ConfigError, match="balance needs labels"):
        streams_of(synthetic, balance=True, labelled=False)


def test_a_batch_larger_than_the_cohort_wraps_and_repeats_are_augmented_apart(synthetic: tuple[Cohort, Store]) -> None:
    batch = streams_of(synthetic, batch=30).at(0)["train"]
    assert len(batch.ids) == 30
    assert set(Counter(batch.ids).values()) <= {2, 3}
    assert isinstance(batch.image, torch.Tensor)
    twice = [i for i, name in enumerate(batch.ids) if name == batch.ids[0]]
    assert not torch.equal(batch.image[twice[0]], batch.image[twice[1]])


def test_an_elements_augmentation_does_not_depend_on_its_neighbours(synthetic: tuple[Cohort, Store]) -> None:
    small, large = streams_of(synthetic, batch=4).at(0)["train"], streams_of(synthetic, batch=9).at(0)["train"]
    assert large.ids[:4] == small.ids
    assert isinstance(small.image, torch.Tensor)
    assert torch.equal(large.image[:4], small.image)


def test_without_augmentation_a_batch_is_the_store_normalised(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    to_card = normaliser(InputSpec(channels=1, mean=(0.4,), std=(0.2,)), "unit", 1)
    batch = streams_of(synthetic, augment=Augment(), normalise=to_card, views=0).at(2)["train"]
    assert torch.allclose(batch.image, (torch.from_numpy(store.rows(batch.ids)) - 0.4) / 0.2, atol=1e-6)
    assert batch.targets["label"].tolist() == [cohort[name].targets["label"] for name in batch.ids]
    assert batch.targets["label"].dtype == torch.long
    assert batch.present["label"].all()
    assert batch.weight is None


def test_views_are_further_copies_with_their_own_draws(synthetic: tuple[Cohort, Store]) -> None:
    batch = streams_of(synthetic, views=2).at(0)["train"]
    assert len(batch.views) == 2
    assert isinstance(batch.image, torch.Tensor)
    assert batch.views[0].image.shape == batch.image.shape
    assert not torch.equal(batch.views[0].image, batch.image)
    assert batch.views[0].draws != batch.views[1].draws
    stored = torch.from_numpy(synthetic[1].rows(batch.ids))
    again = Augment(preset="light").apply_batch(stored, list(batch.views[1].draws))
    assert torch.equal(again, batch.views[1].image)  # the recorded draws made it


class _Poison(dict[str, Any]):
    """Targets that must not be looked at."""

    def _refuse(self, *_: object) -> Any:
        pytest.fail("an unlabelled stream looked at a target")

    __getitem__ = get = items = values = keys = __contains__ = __iter__ = _refuse  # type: ignore[assignment]


def test_unlabelled_streams_never_look_at_targets_synthetic_poison(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    poisoned = replace(cohort, cases=tuple(replace(case, targets=_Poison()) for case in cohort))
    batch = streams_of((poisoned, store), labelled=False).at(1)["train"]
    assert (batch.targets, batch.present) == ({}, {})
    assert torch.equal(batch.image, streams_of(synthetic).at(1)["train"].image)
    with pytest.raises(pytest.fail.Exception):
        streams_of((poisoned, store), labelled=True).at(1)


def test_absent_targets_are_marked_and_filled(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    some = cohort.with_targets({f"c{i}": {} for i in range(5)})
    batch = streams_of((some, store), batch=COUNT).at(0)["train"]
    assert batch.present["label"].tolist() == [int(name[1:]) >= 5 for name in batch.ids]
    assert not batch.targets["label"][~batch.present["label"]].any()
    with pytest.raises(DataError, match="none of 11 cases has a target"):
        streams_of((cohort.with_targets({f"c{i}": {} for i in range(COUNT)}), store))


def _labelled(data: tuple[Cohort, Store], task: Task, value: Any) -> tuple[Cohort, Store]:
    cases = tuple(replace(case, targets={task.head: value}) for case in data[0])
    return replace(data[0], task=task, cases=cases), data[1]


def test_multilabel_soft_and_regression_targets_have_one_column_an_output(synthetic: tuple[Cohort, Store]) -> None:
    multi = _labelled(synthetic, Task(kind="multilabel", classes=("x", "y", "z")), (1, 0, 1))
    got = streams_of(multi).at(0)["train"].targets["label"]
    assert got.dtype == torch.float32
    assert torch.equal(got, torch.tensor([[1.0, 0.0, 1.0]] * 4))
    soft = _labelled(synthetic, TASK, (0.7, 0.2, 0.1))
    mixed = soft[0].with_targets({f"c{i}": {"label": 2} for i in range(COUNT - 1)}), soft[1]
    batch = streams_of(mixed, batch=COUNT).at(0)["train"]
    expected = {True: [0.7, 0.2, 0.1], False: [0.0, 0.0, 1.0]}
    wanted = torch.tensor([expected[name == f"c{COUNT - 1}"] for name in batch.ids])
    assert torch.allclose(batch.targets["label"], wanted)
    dose = _labelled(synthetic, Task(kind="regression", classes=("dose",)), 2.5)
    assert streams_of(dose).at(0)["train"].targets["label"].tolist() == [[2.5]] * 4


@pytest.mark.parametrize(
    ("kind", "value"),
    [("multiclass", 3), ("multiclass", -1), ("multiclass", 0.5),
     ("multiclass", (0.5, 0.1, 0.1)), ("multiclass", (1, 0)),
     ("multilabel", 1), ("multilabel", (1, 0)), ("multilabel", (2, 0, 0)), ("regression", (1.0,)), ("segmentation", 1)],
)  # fmt: skip
def test_targets_that_do_not_fit_are_refused_by_name(synthetic: tuple[Cohort, Store], kind: Any, value: Any) -> None:
    wrong = _labelled(synthetic, Task(kind=kind, classes=("x", "y", "z")), value)
    with pytest.raises(DataError, match=r"stream 'train', case 'c0', target 'label'"):
        streams_of(wrong)


def test_masks_move_with_their_images_synthetic(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for i in range(4):
        mask = np.kron(rng.integers(0, 3, (4, 4)), np.ones((6, 6), int)).astype(np.uint8)
        np.save(tmp_path / f"m{i}.npy", mask)
        np.save(tmp_path / f"x{i}.npy", mask * 100)
        target = {"tumour": ImageRef(tmp_path / f"m{i}.npy")} if i else {}
        cases.append(Case(id=f"c{i}", image=(ImageRef(tmp_path / f"x{i}.npy"),), targets=target, group="g"))
    task = Task(kind="segmentation", classes=("back", "core", "rim"), head="tumour")
    cohort = Cohort("synthetic", task, tuple(cases))
    store = Store.build(cohort, Preprocess(), tmp_path / "stores")
    augment = Augment.model_validate([{"flip": {"axes": [-1, -2], "p": 1}}, "rotate90", {"affine": {"rotate": 30}}])
    for step in range(4):
        batch = streams_of((cohort, store), augment=augment).at(step)["train"]
        mask, image = batch.targets["tumour"], batch.image
        assert isinstance(image, torch.Tensor)
        assert mask.shape == (4, 24, 24)
        assert mask.dtype == torch.long
        assert batch.present["tumour"].tolist() == [name != "c0" for name in batch.ids]
        labelled = [i for i, name in enumerate(batch.ids) if name != "c0"]
        agree = ((image[labelled, 0] * 255 / 100).round().long() == mask[labelled]).float().mean()
        assert agree > 0.9  # all but the blurred borders
        turned = mask[labelled].flip(-1)
        assert ((image[labelled, 0] * 255 / 100).round().long() == turned).float().mean() < 0.7


def test_weights_go_by_id(synthetic: tuple[Cohort, Store]) -> None:
    weighted = replace(synthetic[0], weights={"c3": 0.5})
    batch = streams_of((weighted, synthetic[1]), batch=COUNT).at(0)["train"]
    assert batch.weight is not None
    assert batch.weight.tolist() == [0.5 if name == "c3" else 1.0 for name in batch.ids]


def test_what_could_not_work_is_refused_at_once(synthetic: tuple[Cohort, Store]) -> None:
    cohort, store = synthetic
    with pytest.raises(ConfigError, match="batch must be at least 1"):
        streams_of(synthetic, batch=0)
    with pytest.raises(DataError, match="has no cases"):
        streams_of((cohort.subset([]), store))
    stranger = replace(cohort, cases=(*cohort.cases, replace(cohort.cases[0], id="stranger")))
    with pytest.raises(DataError, match="'stranger'"):
        streams_of((stranger, store))


def test_feature_streams_give_the_same_cases_and_targets_step_for_step(synthetic: tuple[Cohort, Store]) -> None:
    cohort, _ = synthetic
    ids = tuple(reversed(cohort.ids))
    levels = (torch.arange(COUNT).float().reshape(-1, 1, 1, 1), torch.randn(COUNT, 5))
    for changes in ({}, {"balance": True}):
        source = FeatureSource(cohort=cohort, batch=4, ids=ids, levels=levels, **changes)
        features, images = FeatureStreams({"train": source}, seed=3), streams_of(synthetic, **changes)
        for step in (0, 1, 9):
            a, b = features.at(step)["train"], images.at(step)["train"]
            assert a.ids == b.ids
            assert torch.equal(a.targets["label"], b.targets["label"])
            assert isinstance(a.image, tuple)
            assert [ids[int(v)] for v in a.image[0].flatten()] == list(a.ids)
            assert torch.equal(a.image[1], levels[1][a.image[0].flatten().long()])
    with pytest.raises(DataError, match="Compute the feature cache again"):
        FeatureStreams({"train": FeatureSource(cohort=cohort, batch=4, ids=ids[1:], levels=levels)}, seed=3)


def test_prefetched_batches_are_the_same_in_any_order_of_asking(synthetic: tuple[Cohort, Store]) -> None:
    streams = streams_of(synthetic)
    with prefetch(streams, 2) as ahead:
        for step in (0, 1, 2, 7, 3, 3):
            assert same(ahead.at(step), streams.at(step))


class _Scripted:
    """Streams that count, and fail at one step."""

    def __init__(self, fails: int = -1) -> None:
        self.asked: list[int] = []
        self.fails = fails

    def at(self, step: int) -> Mapping[str, Batch]:
        self.asked.append(step)
        if step == self.fails:
            msg = f"case 'broken' at {step}"
            raise DataError(msg)
        return {}


def test_prefetch_works_ahead_once_a_step_and_stops_at_the_last() -> None:
    source = _Scripted()
    with prefetch(source, 3, last=6) as ahead:
        for step in range(6):
            ahead.at(step)
    assert source.asked == list(range(6))


def test_prefetch_raises_an_error_at_its_own_step_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with prefetch(_Scripted(fails=2), 3) as ahead:
        ahead.at(0)
        ahead.at(1)
        for _ in range(2):
            with pytest.raises(DataError, match="broken"):
                ahead.at(2)
        ahead.at(3)
    assert threading.active_count() == before
    with pytest.raises(ConfigError, match="depth"):
        prefetch(_Scripted(), 0)


def test_the_streams_satisfy_the_contract(synthetic: tuple[Cohort, Store]) -> None:
    from allograft.contracts import Streams

    streams: Streams = streams_of(synthetic)
    assert list(streams.at(0)) == ["train"]
