"""Contents of files: every format, container and folder that the field uses, on synthetic tensors."""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_source_weights import card
from torch import nn

from allograft.core.errors import PlanError
from allograft.weights.card import WeightSource
from allograft.weights.reading.contents import read_content
from allograft.weights.reading.files import open_tensors
from allograft.weights.source import SourceWeights

STATE = {"conv1.weight": torch.arange(54.0).reshape(2, 3, 3, 3), "bn1.running_var": torch.tensor([1.0, 2.0])}
ADAM = {"state": {0: {"exp_avg": torch.ones(9, 9), "step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}


def saved(folder: Path, value: Any, name: str = "x.pth", *, legacy: bool = False) -> Path:
    torch.save(value, folder / name, _use_new_zipfile_serialization=not legacy)
    return folder / name


def same(found: Any, state: dict[str, torch.Tensor]) -> bool:
    return set(found.shapes) == set(state) and all(torch.equal(found.read(key), state[key]) for key in state)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("value", "best"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3, "optimizer": ADAM}, "state_dict"),
        ({"model": STATE, "opt": ADAM}, "model"),
        ({"resnet": STATE, "head": {"weight": torch.zeros(900, 900)}}, "resnet"),
        (
            {"network_weights": STATE, "optimizer_state": ADAM, "grad_scaler_state": {"scale": torch.ones(2)}},
            "network_weights",
        ),
        ({"model_state_dict": STATE, "optimizer_state_dict": ADAM}, "model_state_dict"),
        ({"net": STATE, "trainer": {"epoch": 1}}, "net"),
        ({"checkpoint": {"model": {"state_dict": STATE}}}, "checkpoint.model.state_dict"),
        (
            {"classy_state_dict": {"base_model": {"model": {"trunk": STATE}}}},
            "classy_state_dict.base_model.model.trunk",
        ),
        ({"queue": torch.zeros(99, 99), "queue_ptr": torch.zeros(1), "state_dict": STATE}, "state_dict"),
        ({"models": [STATE, {"b": torch.ones(1)}]}, "models.0"),
    ],
)
def test_the_best_container_comes_first_and_optimizers_never(
    value: Any, best: str, legacy: bool, tmp_path: Path
) -> None:
    content = read_content(saved(tmp_path, value, legacy=legacy))
    assert next(iter(content.containers)) == best
    assert same(content.containers[best], STATE)
    assert not any("opt" in name or "scaler" in name for name in content.containers)
    assert same(open_tensors(tmp_path / "x.pth", best), STATE)


@pytest.mark.parametrize(
    ("soft", "hard"), [("state_dict_ema", "state_dict"), ("ema", "model"), ("model_ema", "net"), ("teacher", "student")]
)
def test_averaged_weights_are_listed_second_and_told(soft: str, hard: str, tmp_path: Path) -> None:
    bigger = {**STATE, "more": torch.ones(500)}
    content = read_content(saved(tmp_path, {soft: bigger, hard: STATE}))
    assert list(content.containers) == [hard, soft]
    assert any(soft in note and hard in note for note in content.notes)
    alone = read_content(saved(tmp_path, {soft: STATE}))
    assert alone.notes == (f'the file holds averaged weights only ("{soft}")',)


def test_lightning_keeps_its_prefix_and_its_settings(tmp_path: Path) -> None:
    state = {f"model.encoder.{key}": value for key, value in STATE.items()}
    callbacks = {"EMA": {"ema_weights": STATE}, "ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}}
    value = {
        "state_dict": state,
        "hyper_parameters": {"lr": 0.1, "arch": "resnet50", "args": argparse.Namespace(width=2, root=Path("/data/x"))},
        "optimizer_states": [ADAM],
        "lr_schedulers": [],
        "callbacks": callbacks,
        "loops": {"fit_loop": {"state_dict": {}}},
        "pytorch-lightning_version": "2.0",
        "epoch": 7,
    }
    content = read_content(saved(tmp_path, value))
    assert list(content.containers) == ["state_dict"]
    assert same(content.containers["state_dict"], state)
    expected = {"lr": 0.1, "arch": "resnet50", "args": {"width": 2, "root": "//data/x"}}
    assert content.facts["hyper_parameters"] == expected
    assert content.facts["epoch"] == 7
    assert content.refused == ("argparse.Namespace",)


def test_nnunet_keeps_plans_and_data_set(tmp_path: Path) -> None:
    plans = {"configurations": {"3d_fullres": {"patch_size": [96, 96, 96], "spacing": (1.0, 1.0, 1.0)}}}
    value = {
        "network_weights": {f"_orig_mod.{key}": v for key, v in STATE.items()},
        "optimizer_state": ADAM,
        "grad_scaler_state": None,
        "_best_ema": np.float64(0.8),
        "current_epoch": 1000,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0, "dataset_json": {"labels": {"bg": 0}}},
        "trainer_name": "nnUNetTrainer",
    }
    result = tmp_path / "result"
    for fold in (0, 1):
        (result / f"fold_{fold}").mkdir(parents=True)
        saved(result / f"fold_{fold}", value, "checkpoint_final.pth")
    (result / "dataset.json").write_text('{"labels": {"bg": 0, "tumour": 1}}')
    one = read_content(result / "fold_0" / "checkpoint_final.pth")
    assert list(one.containers) == ["network_weights"]
    assert one.facts["plans"]["configurations"]["3d_fullres"]["patch_size"] == [96, 96, 96]
    assert one.facts["_best_ema"] == 0.8
    content = read_content(result)
    assert content.format == "nnunet folder"
    assert list(content.containers) == ["fold_0.network_weights", "fold_1.network_weights"]
    assert content.facts["dataset"] == {"labels": {"bg": 0, "tumour": 1}}
    assert content.facts["plans"] == one.facts["plans"]
    assert content.facts["fold_1"]["current_epoch"] == 1000
    assert same(open_tensors(result, "fold_1.network_weights"), value["network_weights"])


@pytest.mark.parametrize("form", ["folder", "zip", "zip, packed", "torchscript"])
def test_monai_bundles(form: str, tmp_path: Path) -> None:
    root = tmp_path / "brats"
    (root / "models").mkdir(parents=True)
    (root / "configs").mkdir()
    (root / "configs" / "metadata.json").write_text('{"version": "0.5", "network_data_format": {"inputs": {}}}')
    net = nn.Sequential(nn.Conv3d(1, 2, 3))
    if form == "torchscript":
        torch.jit.script(net).save(str(root / "models" / "model.ts"))
    else:
        saved(root / "models", net.state_dict(), "model.pt")
    path = root
    if form.startswith("zip"):
        path = tmp_path / "b.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if "packed" in form else zipfile.ZIP_STORED) as made:
            for file in sorted(root.rglob("*.*")):
                made.write(file, f"brats/{file.relative_to(root)}")
    content = read_content(path)
    assert content.format == "monai bundle"
    assert content.where == str(path)
    assert content.facts["metadata"]["version"] == "0.5"
    assert same(content.containers[""], net.state_dict())


def shards(folder: Path) -> Path:
    folder.mkdir()
    parts = dict(
        zip(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), STATE.items(), strict=True)
    )
    for name, (key, value) in parts.items():
        save_file({key: value}, folder / name)
    table = {key: name for name, (key, _) in parts.items()}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": table, "metadata": {"total_size": 1}})
    )
    (folder / "config.json").write_text('{"architectures": ["ResNet"]}')
    return folder


def test_shards_are_one_and_a_missing_or_cut_one_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path / "model")
    for path in (folder, folder / "model.safetensors.index.json"):
        content = read_content(path)
        assert content.format == "safetensors shards"
        assert same(content.containers[""], STATE)
        assert content.facts["config"] == {"architectures": ["ResNet"]}
    second = folder / "model-00002-of-00002.safetensors"
    assert "shard 2 of 2" in read_content(second).notes[0]
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PlanError, match=r"model-00002-of-00002\.safetensors: not a whole safetensors file"):
        read_content(folder)
    save_file({"other": torch.ones(1)}, second)
    with pytest.raises(PlanError, match=r"model-00002-of-00002\.safetensors: the index places tensor bn1"):
        read_content(folder)
    second.unlink()
    with pytest.raises(PlanError, match=r"shard model-00002-of-00002\.safetensors is missing, one of 2"):
        read_content(folder)


def test_one_file_in_a_folder_and_a_folder_of_nothing(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors", metadata={"format": "pt"})
    content = read_content(tmp_path)
    assert same(content.containers[""], STATE)
    assert content.facts["format"] == "pt"
    (tmp_path / "none").mkdir()
    with pytest.raises(PlanError, match="no weights that are known in this folder"):
        read_content(tmp_path / "none")


def test_a_folder_is_a_source_with_a_hash_of_the_whole(tmp_path: Path) -> None:
    from allograft.data.origins import content_sha256

    folder = shards(tmp_path / "model")
    known: WeightSource = card(sha256=content_sha256(folder))
    assert SourceWeights.open(known, folder).verified
    (folder / "config.json").write_text("{}")
    with pytest.raises(PlanError, match="SHA-256 expected"):
        SourceWeights.open(known, folder)


class Net(nn.Module):
    """A network of this file, pickled whole; its class is never imported by the reader."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.scale = nn.Parameter(torch.rand(2))
        self.register_buffer("grid", torch.rand(3), persistent=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_network_that_was_pickled_whole_gives_its_state_dict(legacy: bool, tmp_path: Path) -> None:
    net = nn.DataParallel(Net())
    content = read_content(saved(tmp_path, {"net": net, "epoch": 1}, legacy=legacy))
    assert same(content.containers["net"], net.state_dict())
    assert any(name.endswith("test_file_contents.Net") for name in content.refused)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_pickles_of_arrays(protocol: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {
        "a": rng.normal(size=(2, 3)).astype("f4"),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big": rng.normal(size=(5,)).astype(">f4"),
        "none": np.zeros((0, 3), "f4"),
        "number": np.array(7),
        "flags": np.array([True, False]),
        "part": rng.normal(size=(6, 6)).astype("f4")[::2, 1:],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"model": state, "author": "x", "objects": np.array([{}], dtype=object)}, protocol))
    content = read_content(path)
    assert content.format == "pickle"
    found = content.containers["model"]
    assert set(found.shapes) == set(state)
    for key, value in state.items():
        assert torch.equal(found.read(key), torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="))))


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickles_of_tensors(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    state = {**STATE, "p": nn.Parameter(torch.ones(2, 3)).data.T}
    path.write_bytes(pickle.dumps({"state_dict": state}, protocol))
    assert same(read_content(path).containers["state_dict"], state)


def test_views_types_and_shells_are_as_torch_reads_them(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    state = OrderedDict(
        view=base[3:9].reshape(2, 3),
        turned=base.reshape(4, 6).T,
        same=base,
        half=torch.ones(3).half(),
        brain=torch.ones(3).bfloat16(),
        flag=torch.tensor([True]),
        param=nn.Parameter(torch.ones(2)),
        empty=torch.empty(0, 4),
        scalar=torch.tensor(3),
    )
    for legacy in (False, True):
        path = saved(tmp_path, state, legacy=legacy)
        judge = torch.load(path, weights_only=True)
        found = read_content(path).containers[""]
        assert all(torch.equal(found.read(key), judge[key]) and found.dtypes[key] == judge[key].dtype for key in state)
        assert found.shapes["turned"] == (6, 4)


def test_reading_a_tensor_and_writing_into_it_never_changes_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, dict(STATE))
    before = path.read_bytes()
    read_content(path).containers[""].read("conv1.weight").zero_()
    assert path.read_bytes() == before
    assert same(read_content(path).containers[""], STATE)


def test_numpy_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{key: value.numpy() for key, value in STATE.items()})
    content = read_content(tmp_path / "x.npz")
    assert content.format == "numpy archive"
    assert same(content.containers[""], STATE)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x1f\x8b\x08 and so on", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ],
)
def test_what_stands_where_a_file_should_be_is_recognised(head: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(head)
    with pytest.raises(PlanError, match=says):
        read_content(tmp_path / "x.pth")


State = namedtuple("State", "online_params target_params online_state target_state opt_state")


def haiku(scale: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and statistics as haiku nests them."""
    rng = np.random.default_rng(int(scale))
    params = {
        "res_net50/~/initial_conv": {"w": rng.normal(size=(3, 3, 2, 4)).astype("f4")},
        "res_net50/~/initial_batchnorm": {
            "scale": np.full((1, 1, 1, 4), scale, "f4"),
            "offset": np.zeros((1, 1, 1, 4), "f4"),
        },
        "classifier": {"w": rng.normal(size=(4, 5)).astype("f4"), "b": np.arange(5, dtype="f4")},
    }
    average = {"average": np.ones((1, 1, 1, 4), "f4"), "hidden": np.ones((1, 1, 1, 4), "f4"), "counter": np.array(3)}
    return params, {"res_net50/~/initial_batchnorm/~/mean_ema": average}


def test_byol_gives_one_place_for_parameters_and_statistics_and_the_average_last(tmp_path: Path) -> None:
    online, target = haiku(1.0), haiku(2.0)
    value = {"experiment_state": State(online[0], target[0], online[1], target[1], {"mu": online[0]}), "step": 9}
    path = tmp_path / "x.pkl"
    text = pickle.dumps(value, protocol=2)
    path.write_bytes(text.replace(b"ctest_file_contents\nState\n", b"cbyol.byol_experiment\n_ByolExperimentState\n"))
    content = read_content(path)
    assert next(iter(content.containers)) == "experiment_state.online"
    assert content.containers["experiment_state.online"].shapes["res_net50/~/initial_conv/w"] == (3, 3, 2, 4)
    assert "res_net50/~/initial_batchnorm/~/mean_ema/average" in content.containers["experiment_state.online"].shapes
    assert any('"experiment_state.target' in note for note in content.notes)
    assert content.facts["step"] == 9


def test_channels_last_convolution_equals_explicit_loops(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    params, state = haiku(1.0)
    path.write_bytes(pickle.dumps({"online_params": params, "online_state": state}))
    lines = ((r".+/initial_conv/w", "conv1.weight"), (r".+/initial_batchnorm/scale", "bn1.weight"))
    source = SourceWeights.open(card(layout="channels_last", container="online", key_map=lines), path)
    assert source.shapes["conv1.weight"] == (4, 2, 3, 3)
    assert source.shapes["bn1.weight"] == (4,)
    assert source.shapes["classifier/w"] == (5, 4)
    assert source.shapes["classifier/b"] == (5,)
    image = np.random.default_rng(5).normal(size=(1, 6, 7, 2)).astype("f4")
    kernel = params["res_net50/~/initial_conv"]["w"]
    wanted = np.zeros((1, 4, 5, 4))
    for row in range(4):
        for column in range(5):
            for i in range(3):
                for j in range(3):
                    for c in range(2):
                        wanted[0, row, column] += image[0, row + i, column + j, c] * kernel[i, j, c]
    got = nn.functional.conv2d(torch.from_numpy(image).permute(0, 3, 1, 2), source["conv1.weight"]).permute(0, 2, 3, 1)
    assert np.allclose(got.numpy(), wanted, atol=1e-5)
    dense = np.arange(4, dtype="f4") @ params["classifier"]["w"]
    assert np.allclose((source["classifier/w"] @ torch.arange(4.0)).numpy(), dense, atol=1e-5)


def test_channels_last_in_three_dimensions_and_one_channel(tmp_path: Path) -> None:
    arrays = {
        "a/w": np.random.default_rng(0).normal(size=(2, 3, 4, 1, 5)).astype("f4"),
        "b/w": np.ones((1, 1, 1, 1, 5), "f4"),
    }
    np.savez(tmp_path / "x.npz", **{key.replace("/", "."): value for key, value in arrays.items()})
    source = SourceWeights.open(card(layout="channels_last", dims=3), tmp_path / "x.npz")
    assert dict(source.shapes) == {"a.w": (5, 1, 2, 3, 4), "b.w": (5, 1, 1, 1, 1)}
    assert torch.equal(source["a.w"][3, 0], torch.from_numpy(arrays["a/w"][..., 0, 3]))
