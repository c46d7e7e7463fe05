"""Exports of random networks: every format says what the predictor says, and a wrong one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from allograft.catalog import parts
from allograft.core.errors import ConfigError, DataError, MissingExtra, NumericsError
from allograft.data.patches import Patches
from allograft.infer import export_onnx, export_openvino
from allograft.infer.deployed import Deployed, Parity, compare, example, require_parity
from allograft.infer.ensemble import open_bundles
from allograft.study import hand_over as hand_over_module
from allograft.study.hand_over import hand_over
from random_bundles import random_bundle


def opened(folder: Path, count: int = 1, **settings):
    return open_bundles([random_bundle(folder / str(s), seed=s, **settings) for s in range(count)], parts)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize(("dims", "views"), [(2, "plain"), (2, "ten_crop"), (3, "plain")])
def test_a_deployed_ensemble_gives_the_predictors_probabilities(kind, dims, views, tmp_path):
    predictor = opened(tmp_path, 2, kind=kind, dims=dims, views=views)
    x = example(predictor, 3, seed=0)
    np.testing.assert_allclose(Deployed(predictor)(x).detach().numpy(), predictor.probabilities(x.numpy()), atol=2e-6)


@pytest.mark.parametrize("mirror", [(), (0, 1)])
def test_a_deployed_segmentation_labels_a_window_as_the_predictor_does(mirror, tmp_path):
    predictor = opened(tmp_path, 2, kind="segmentation", dims=2, patches=Patches(size=(16, 16), mirror=mirror))
    x = example(predictor, 1, seed=0)
    found = Deployed(predictor)(x)
    assert found.shape == (1, 6, 16, 16)
    labels = found.unflatten(1, (2, 3)).softmax(2).mean(1)[0].argmax(0).numpy()
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, predictor.segment(x[0].numpy()))


def test_a_runtime_that_says_something_else_is_refused(tmp_path):
    predictor = opened(tmp_path, kind="binary", dims=2)
    module = Deployed(predictor)
    require_parity(compare(predictor, module, module), "itself")
    with pytest.raises(NumericsError, match="other numbers than PyTorch"):
        require_parity(compare(predictor, module, lambda x: module(x) + 2e-4), "x")
    with pytest.raises(NumericsError):
        require_parity(compare(predictor, module, lambda x: module(x) * float("nan")), "x")
    assert Parity(0.0, 1.0, 0.0, 4).said("x").endswith("same class in 100.0000% of 4 answers.")


@pytest.mark.parametrize(
    ("kind", "dims", "anchors"),
    [
        ("binary", 2, 0),
        ("multiclass", 3, 0),
        ("binary", 3, 7),
        ("multiclass", 2, 7),
        ("segmentation", 2, 0),
        ("segmentation", 3, 0),
    ],
)
def test_onnx_gives_the_networks_numbers_for_any_batch(kind, dims, anchors, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = random_bundle(tmp_path / "net", kind=kind, dims=dims, anchors=anchors)
    done = hand_over(folder, "onnx", tmp_path / "out")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"])
    predictor = open_bundles([folder], parts)
    for batch in (1, 2, 5):
        x = example(predictor, batch, seed=9)
        with torch.no_grad():
            expected = Deployed(predictor)(x).numpy()
        np.testing.assert_allclose(session.run(None, {"image": x.numpy()})[0], expected, atol=1e-4)
    assert {"MODEL_CARD.md", "configs/contract.json", "model.onnx"} <= set(done.files)
    assert any("onnxruntime" in line for line in done.checked)


@pytest.mark.parametrize(("kind", "dims"), [("multiclass", 2), ("segmentation", 3)])
def test_openvino_gives_the_networks_numbers_and_its_speed(kind, dims, tmp_path):
    openvino = pytest.importorskip("openvino")
    folder = random_bundle(tmp_path / "net", kind=kind, dims=dims)
    hand_over(folder, "openvino", tmp_path / "out")
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(tmp_path / "out/model.xml"), "CPU", hint)
    predictor = open_bundles([folder], parts)
    for batch in (1, 4):
        x = example(predictor, batch, seed=9)
        with torch.no_grad():
            expected = Deployed(predictor)(x).numpy()
        np.testing.assert_allclose(model({"image": x.numpy()})[0], expected, atol=1e-4)
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    assert "medians of" in card
    assert "OpenVINO on this CPU in float32 against PyTorch" in card


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_export_that_fails_its_check_leaves_nothing(form, tmp_path, monkeypatch):
    wrong = Parity(difference=0.3, agreement=0.5, output=0.3, answers=4)
    for home in (export_onnx, export_openvino):
        monkeypatch.setattr(home, "compare", lambda *args: wrong)
        monkeypatch.setattr(home, "_convert", lambda *args: None)
    monkeypatch.setattr(export_onnx, "check_onnx", lambda *args: wrong)
    if form == "openvino":
        openvino = pytest.importorskip("openvino")
        monkeypatch.setattr(openvino, "save_model", lambda *args, **kwargs: None)
        monkeypatch.setattr(export_openvino, "_compiled", lambda *args: None)
    else:
        pytest.importorskip("onnx")
    folder = random_bundle(tmp_path / "net", kind="binary", dims=2)
    with pytest.raises(NumericsError, match=r"differ by 3\.00e-01"):
        hand_over(folder, form, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_missing_package_is_named_before_anything_is_read(form, tmp_path, monkeypatch):
    for home in (export_onnx, export_openvino):
        monkeypatch.setattr(home, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"allograft\[export\]"):
        hand_over(tmp_path / "nothing", form, tmp_path / "out")


def test_wrong_wishes_are_refused_and_nothing_is_overwritten(tmp_path, monkeypatch):
    folder = random_bundle(tmp_path / "net", kind="binary", dims=2)
    monkeypatch.setitem(hand_over_module.FORMATS, "bundle", (lambda: None, lambda folder, predictor: ["x"]))
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match='Did you mean "onnx"'):
        hand_over(folder, "onx", out)
    with pytest.raises(ConfigError, match="numbered 0 to 0"):
        hand_over(folder, "bundle", out, member=1)
    with pytest.raises(DataError, match="no networks here"):
        hand_over(tmp_path, "bundle", out)
    assert not out.exists()
    hand_over(folder, "bundle", out)
    with pytest.raises(ConfigError, match="--force to replace"):
        hand_over(folder, "bundle", out)
    (out / "mine.txt").touch()
    hand_over(folder, "bundle", out, force=True)
    assert not (out / "mine.txt").exists()
    with pytest.raises(ConfigError, match="no export"):
        hand_over(folder, "bundle", folder, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "out"]


def test_every_export_holds_safetensors_and_a_card_that_names_licence_and_limits(tmp_path, monkeypatch):
    folder = random_bundle(tmp_path / "net", kind="segmentation", dims=3)
    monkeypatch.setitem(hand_over_module.FORMATS, "bundle", (lambda: None, lambda folder, predictor: ["x"]))
    hand_over(folder, "bundle", tmp_path / "out")
    network = tmp_path / "out/networks/0000000000000000"
    assert {p.name for p in network.iterdir()} == {"model.safetensors", "bundle.json", "card.yaml"}
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    for text in ("Not a medical device", "donor: CC-BY-4.0", "made-up", "windows of (16, 16, 16)", "0 background"):
        assert text in card
    contract = json.loads((tmp_path / "out/configs/contract.json").read_text())
    assert contract["task"]["classes"] == ["background", "bright", "dark"]
