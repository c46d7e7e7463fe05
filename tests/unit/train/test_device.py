"""Devices: what is resolved, measured, restored, and shared between processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from allograft.contracts import Budget, Optim
from allograft.core.errors import ConfigError
from allograft.data.case import View
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_batch, tiny_plan, tiny_task
from allograft.train import precision
from allograft.train.device import Device, share_of
from allograft.train.loop import fit
from allograft.train.training import Training
from started_processes import run_processes

SCRIPT = Path(__file__).with_name("two_processes.py")


def test_auto_is_settled(monkeypatch, tmp_path):
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    device = Device.resolve(accelerator="cpu", threads=1)
    assert device.accelerator == "cpu"
    assert device.threads == 1
    assert device.precision in {"32-true", "bf16-mixed"}
    assert Device.model_validate_json(device.model_dump_json()) == device


@pytest.mark.parametrize(("gain", "expected"), [(0.2, "32-true"), (1.1, "32-true"), (1.3, "bf16-mixed")])
def test_bf16_only_where_it_was_measured_faster_and_measured_once(monkeypatch, tmp_path, gain, expected):
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr(precision, "measure_bf16_gain", lambda threads: calls.append(threads) or gain)
    assert [precision.fastest_on_cpu(3), precision.fastest_on_cpu(3)] == [expected, expected]
    assert calls == [3]
    (key,) = json.loads((tmp_path / "device.json").read_text())
    assert "3 threads" in key
    assert torch.__version__ in key
    precision.fastest_on_cpu(4)
    assert calls == [3, 4]


def test_an_unreadable_measurement_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path))
    (tmp_path / "device.json").write_text("{half")
    monkeypatch.setattr(precision, "measure_bf16_gain", lambda threads: 1.0)
    assert precision.fastest_on_cpu(1) == "32-true"


def test_the_measurement_measures():
    assert 0 < precision.measure_bf16_gain(1, repeats=1) < 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_refused():
    with pytest.raises(ConfigError, match="finds no CUDA"):
        Device.resolve(accelerator="cuda")


def test_a_session_sets_threads_and_flags_and_restores_them():
    threads = torch.get_num_threads()

    def fail():
        with Device(threads=threads + 1).session():
            assert torch.get_num_threads() == threads + 1
            assert torch.are_deterministic_algorithms_enabled()
            raise ConfigError("inside")

    with pytest.raises(ConfigError, match="inside"):
        fail()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_two_devices_in_a_lone_process_are_refused():
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"), Device(devices=2).session():
        pass


def test_bf16_trains_through_fabric():
    task, net = tiny_task(), tiny_net(2, outputs=3)
    training = Training(
        plans={"net": tiny_plan(net)},
        optim=Optim(),
        budget=Budget(steps=2, evals=1),
        seed=0,
        device=Device(precision="bf16-mixed"),
    )
    seen = []
    net.encoder.register_forward_hook(lambda module, args, out: seen.append(out[-1].dtype))
    before = net.heads["label"].linear.weight.detach().clone()
    fit({"net": net}, Supervised().build({"net": net}, task), TinyStreams(2, task, {"train": True}), training)
    assert seen == [torch.bfloat16] * 2
    assert net.heads["label"].linear.weight.dtype == torch.float32
    assert not torch.equal(net.heads["label"].linear.weight, before)


def test_shares_make_the_whole_batch():
    batch = tiny_batch(2, tiny_task(), size=6)
    batch = type(batch)(
        image=batch.image,
        targets=batch.targets,
        present=batch.present,
        weight=torch.arange(6.0),
        views=(View(batch.image + 1, tuple({"n": i} for i in range(6))),),
        ids=batch.ids,
    )
    shares = [share_of(batch, rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([share.image for share in shares]), batch.image)
    assert torch.equal(torch.cat([share.targets["label"] for share in shares]), batch.targets["label"])
    assert torch.equal(torch.cat([share.weight for share in shares]), batch.weight)
    assert sum((share.ids for share in shares), ()) == batch.ids
    assert [draw["n"] for share in shares for draw in share.views[0].draws] == list(range(6))
    with pytest.raises(ConfigError, match="6 cases cannot be shared equally by 4"):
        share_of(batch, 0, 4)


@pytest.mark.slow
def test_two_processes_with_half_batches_equal_one_with_the_whole(tmp_path):
    (alone,) = run_processes(SCRIPT, tmp_path, 1)
    first, second = run_processes(SCRIPT, tmp_path, 2)
    whole, halves = load_file(alone), load_file(first)
    assert "criterion.own.weight" in whole
    for name, tensor in whole.items():
        torch.testing.assert_close(halves[name], tensor, rtol=0, atol=1e-6, msg=name)
        assert torch.equal(load_file(second)[name], halves[name]), name
    start = tiny_net(2, outputs=3, norm="none").state_dict()
    assert torch.equal(halves["encoder.stem.conv.weight"], start["encoder.stem.conv.weight"])
    assert not torch.equal(halves["encoder.layer1.conv.weight"], start["encoder.layer1.conv.weight"])
    counts = [safe_open(path, "pt").metadata()["validations"] for path in (first, second)]
    assert counts == ["2", "0"]
