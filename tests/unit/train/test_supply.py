"""Supply: batches made ahead are those that would be made in time; errors surface, and no thread stays."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from loop_material import Scores, tensors, training

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_task
from allograft.train import device as devices
from allograft.train.device import Live
from allograft.train.loop import fit
from allograft.train.supply import supply

TASK = Task(kind="multiclass", classes=("a", "b", "c"))


class Watched(StoreStreams):
    """Streams of images that note who makes which step, and may fail at one."""

    def __init__(self, sources, *, fails=-1):
        super().__init__(sources, seed=3)
        self.fails, self.made = fails, []

    def at(self, step, **share):
        self.made.append((step, threading.current_thread() is threading.main_thread()))
        if step == self.fails:
            raise DataError(f"image of step {step} is damaged")
        return super().at(step, **share)


@pytest.fixture(params=[2, 3])
def dims(request):
    return request.param


@pytest.fixture
def sources(tmp_path, dims):
    images = np.random.default_rng(0).integers(0, 255, (12, *[8] * dims), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    cases = tuple(
        Case(id=f"c{i}", image=(ImageRef(tmp_path / "images.npy", row=i),), targets={"label": i % 3}, group=f"p{i}")
        for i in range(12)
    )
    cohort = Cohort("synthetic", TASK, cases)
    store = Store.build(cohort, Preprocess(channels=3), tmp_path / "stores")
    return {"train": StreamSource(cohort=cohort, store=store, batch=4, augment=Augment(preset="medical_views"))}


def processors(monkeypatch, count):
    monkeypatch.setattr(devices, "processors", lambda: count)


def trained(dims, streams, **rest):
    net = tiny_net(dims, outputs=3)
    history = fit({"net": net}, Supervised().build({"net": net}, tiny_task()), streams, training(net, **rest))
    return history, tensors(net)


def test_training_ahead_equals_training_in_time_bit_for_bit(monkeypatch, sources, dims):
    before, found = threading.active_count(), {}
    for count in (1, 2):
        processors(monkeypatch, count)
        streams = Watched(sources)
        found[count] = trained(dims, streams)
        assert sorted(streams.made) == [(step, count == 1) for step in range(6)], "each step is made once, by whom"
    assert threading.active_count() == before
    assert found[1][0] == found[2][0]
    assert all(torch.equal(value, found[2][1][name]) for name, value in found[1][1].items())


def test_an_error_of_making_surfaces_at_its_step_and_leaves_no_thread(monkeypatch, sources, dims):
    processors(monkeypatch, 2)
    before, streams, rows = threading.active_count(), Watched(sources, fails=4), Scores([1.0, 2.0])
    net = tiny_net(dims, outputs=3)
    with pytest.raises(DataError, match="image of step 4 is damaged"):
        fit({"net": net}, Supervised().build({"net": net}, tiny_task()), streams, training(net), validate=rows)
    assert rows.calls == 1, "the row before the damaged step was closed"
    assert threading.active_count() == before


def test_a_stopped_run_leaves_no_thread(monkeypatch, sources, dims):
    processors(monkeypatch, 2)
    before, net = threading.active_count(), tiny_net(dims, outputs=3)
    criterion = Supervised().build({"net": net}, tiny_task())
    scores = Scores([3.0, 2.0, 1.0, 0.0])
    history = fit(
        {"net": net}, criterion, Watched(sources), training(net, steps=40, evals=40, patience=2), validate=scores
    )
    assert history.steps_done < 40
    assert threading.active_count() == before


def test_only_images_are_made_ahead_and_only_beside_a_free_processor(monkeypatch, sources):
    live = Live(devices.Device(threads=2))
    plain = TinyStreams(2, tiny_task(), {"train": True})
    for count, ahead in ((2, False), (3, True)):
        processors(monkeypatch, count)
        images = Watched(sources)
        with supply(images, live, 5) as given:
            assert (given is images) is not ahead
        with supply(plain, live, 5) as given:
            assert given is plain


def test_of_several_processes_each_makes_its_own_share(monkeypatch, sources):
    processors(monkeypatch, 1)
    live, images = Live(devices.Device()), Watched(sources)
    live.rank, live.world = 1, 2
    with supply(images, live, 5) as given:
        part = given.at(2)["train"]
    whole = images.at(2)["train"]
    assert part.ids == whole.ids[2:]
    assert torch.equal(part.image, whole.image[2:])
    plain = TinyStreams(2, tiny_task(), {"train": True})
    with supply(plain, live, 5) as given:
        assert given.at(0)["train"].ids == plain.at(0)["train"].ids[len(given.at(0)["train"].ids) :]
