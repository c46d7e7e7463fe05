"""Pretext tasks in several processes: each has its share of images and patients, and the mean is the whole batch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from allograft.core.errors import ConfigError
from allograft.data.case import Batch
from allograft.train.device import Device, share_of
from started_processes import run_processes

SCRIPT = Path(__file__).with_name("two_process_rotation.py")


def test_patients_and_spacing_are_shared_with_their_images() -> None:
    spacing = torch.arange(12.0).reshape(6, 2)
    batch = Batch(image=torch.zeros(6, 1, 4, 4), ids=tuple("abcdef"), groups=tuple("ppqqrr"), spacing=spacing)
    shares = [share_of(batch, rank, 3) for rank in range(3)]
    assert [share.groups for share in shares] == [("p", "p"), ("q", "q"), ("r", "r")]
    assert torch.equal(torch.cat([share.spacing for share in shares if share.spacing is not None]), spacing)
    bare = share_of(Batch(image=torch.zeros(6, 1, 4, 4), ids=tuple("abcdef")), 0, 2)
    assert bare.groups == ()
    assert bare.spacing is None


@pytest.mark.parametrize(
    ("place", "devices", "leads"),
    [({}, 1, True), ({"RANK": "0"}, 2, True), ({"RANK": "1"}, 2, False), ({"LOCAL_RANK": "1"}, 2, False)],
)
def test_the_first_process_leads(
    place: dict[str, str], devices: int, leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert Device(devices=devices).leads is leads


def test_processes_that_would_each_take_themselves_for_the_only_one_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    Device().require_started()
    monkeypatch.setenv("WORLD_SIZE", "2")
    Device(devices=2).require_started()
    with pytest.raises(ConfigError, match=r"2 processes were started for 1 devices\. Say --devices 2"):
        Device().require_started()


@pytest.mark.slow
def test_two_processes_learn_rotations_of_synthetic_images_as_one_does_from_the_mean_of_both_shares(
    tmp_path: Path,
) -> None:
    (alone,) = run_processes(SCRIPT, tmp_path, 1)
    first, second = run_processes(SCRIPT, tmp_path, 2)
    whole, halves = load_file(alone), load_file(first)
    for name, tensor in whole.items():
        torch.testing.assert_close(halves[name], tensor, rtol=0, atol=1e-6, msg=name)
        assert torch.equal(load_file(second)[name], halves[name]), name
