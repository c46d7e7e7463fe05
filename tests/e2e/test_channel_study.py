"""Channels by name through `allograft plan` and a tiny study, in 2-D and 3-D, on synthetic images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_study import private_home, run, run_json

from allograft.catalog import encoder_factory
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.weights.card import WeightSource
from allograft.weights.fingerprint import fingerprint, probe_shape
from allograft.weights.source import file_sha256

BRATS = ("t1", "t1ce", "t2", "flair")
WIDTH = 0.125
KERNEL = "encoder.unit1.conv.weight"


def brats_card(folder: Path, dims: int, **more: Any) -> Path:
    """Write a card of weights for four named channels (random tensors)."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = encoder_factory("cbr_tiny")(dims=dims, in_channels=4, width=WIDTH, drop_path=0.0)
    file = folder / "brats.safetensors"
    save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, file)
    fields: dict[str, Any] = {
        "name": "brats",
        "title": "random tensors",
        "origin": f"file:{file}",
        "sha256": file_sha256(file),
        "license": "own",
        "commercial": True,
        "reference": Reference(title="own"),
        "encoder": "cbr_tiny",
        "dims": dims,
        "width": WIDTH,
        "expects": InputSpec(channels=4, channel_names=BRATS, mean=(0.1, 0.2, 0.3, 0.4), std=(1.0, 1.1, 1.2, 1.3)),
        "fingerprint": fingerprint(encoder, probe_shape(4, dims, (16,) * dims)),
    }
    card = WeightSource.model_validate({**fields, **more})
    path = folder / "brats.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json")), encoding="utf-8")
    return path


def pictures(folder: Path, columns: tuple[str, ...]) -> Path:
    """Write synthetic pictures with a file for each channel, and their table."""
    rng, rows = np.random.default_rng(0), [",".join((*columns, "label", "patient_id"))]
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(18):
        names = [f"{i}-{column}.png" for column in columns]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / name)
        rows.append(",".join((*names, "ab"[i % 2], f"p{i // 2}")))
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "table.csv"


def volumes(folder: Path, channels: dict[str, str]) -> Path:
    """Write synthetic volumes in nnU-Net's layout, whose dataset.json names the channels."""
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(6):
        for channel in channels:
            image = rng.normal(size=(16, 16, 16)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"imagesTr/c{i}_{int(channel):04d}.nii.gz")
        mask = np.zeros((16, 16, 16), np.uint8)
        mask[4:10, 4:10, 4:10] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"labelsTr/c{i}.nii.gz")
    said = {"channel_names": channels, "labels": {"background": 0, "ball": 1}, "numTraining": 6}
    (folder / "dataset.json").write_text(json.dumps({**said, "file_ending": ".nii.gz", "name": "Balls"}))
    return folder


def study_file(folder: Path, dims: int, data: dict[str, Any], **fields: Any) -> Path:
    source = str(brats_card(folder / "card", dims))
    net: dict[str, Any] = {"encoder": "cbr_tiny", "width": WIDTH, "dims": dims}
    shape: dict[str, Any] = {"preprocess": {"size": [16, 16], "intensity": "unit", "low": 0, "high": 255}}
    if dims == 3:
        net["decoder"] = "unet"
        shape = {"preprocess": {"intensity": "standard"}, "patches": {"size": [16, 16, 16]}}
    text = {
        "study": "channels",
        "datasets": [{"name": "here", **data}],
        "baseline": "named",
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "augment": {"preset": "none"},
        **shape,
        "common": {"net": net, "source": source, "budget": {"steps": 2, "batch": 2, "evals": 1}},
        "recipes": [
            {"name": "named", "start": "full"},
            {"name": "zero", "start": {"full": {"new_channels": "zero"}}, "tuning": "frozen"},
        ],
        **fields,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


def refusal(*arguments: object) -> str:
    """Call the command line, which must refuse, and return what it says."""
    result = run(*arguments)
    assert result.exit_code != 0
    return str(result.exception)


def kernels(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {p["recipe"]: next(e for e in p["entries"] if e["target"] == KERNEL) for p in found["plans"]}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_study_adapts_the_first_layer_and_the_input_contract_by_name(
    dims: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_home(tmp_path, monkeypatch)
    if dims == 2:
        columns = ("FLAIR", "ADC", "T1w")
        table = pictures(tmp_path / "data", columns)
        data = {"path": str(table), "image": list(columns), "label": "label", "group": "patient_id"}
    else:
        data = {"path": str(volumes(tmp_path / "data", {"0": "FLAIR", "1": "ADC", "2": "T1w"}))}
    file = study_file(tmp_path, dims, data)
    found = run_json("plan", str(file), "--tensors")
    entry = kernels(found)["named"]
    assert (entry["action"], entry["args"]["order"]) == ("rescale", "3 new 0")
    assert "FLAIR<-flair, ADC: mean of known, T1w<-t1; not used: t1ce, t2" in entry["why"]
    assert "ADC: zero" in kernels(found)["zero"]["why"]
    if dims == 2:
        note = next(n for n in found["plans"][0]["notes"] if n.startswith("input contract"))
        assert "minus mean (0.4, 0.25, 0.1), divided by std (1.3, 1.15, 1)" in note
        assert "channels by name: FLAIR<-flair" in note
    out = tmp_path / "out"
    run("study", str(file), "--out", str(out), "--workers", "1")
    for model in out.glob("runs/*/model"):
        card = yaml.safe_load((model / "card.yaml").read_text())
        assert card["expects"]["channel_names"] == ["FLAIR", "ADC", "T1w"]
        if "zero" in card["name"]:  # a frozen encoder is still what the plan made of it
            kernel = load_file(model / "model.safetensors")[KERNEL]
            source = load_file(tmp_path / "card" / "brats.safetensors")["unit1.conv.weight"]
            assert torch.equal(kernel[:, [0, 2]], source[:, [3, 0]])
            assert not kernel[:, 1].any()
    assert len(list(out.glob("runs/*/model"))) == 2


def test_names_in_the_study_file_go_before_those_of_the_table_and_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_home(tmp_path, monkeypatch)
    columns = ("a", "b", "c", "d")
    table = pictures(tmp_path / "data", columns)
    data = {"path": str(table), "image": list(columns), "label": "label", "group": "patient_id"}
    plain = kernels(run_json("plan", str(study_file(tmp_path, 2, data)), "--tensors"))["named"]
    assert plain["action"] == "copy"
    assert "no channel of the data (a, b, c, d) is named like the source's" in plain["why"]
    data["channels"] = ["flair", "t2", "t1ce", "t1"]
    named = kernels(run_json("plan", str(study_file(tmp_path, 2, data)), "--tensors"))["named"]
    assert named["args"]["order"] == "3 2 1 0"
    data["channels"] = ["flair", "t2"]
    wrong = refusal("plan", study_file(tmp_path, 2, data))
    assert "channels names 2 (flair, t2), its images have 4" in wrong


def test_a_non_commercial_card_is_shown_and_needs_consent_and_marks_what_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_home(tmp_path, monkeypatch)
    table = pictures(tmp_path / "data", ("t1", "flair"))
    data = {"path": str(table), "image": ["t1", "flair"], "label": "label", "group": "patient_id"}
    file = study_file(tmp_path, 2, data)
    brats_card(tmp_path / "card", 2, license="CC-BY-NC-4.0", commercial=False, seen=["here"])
    assert "--accept-licence brats" in refusal("plan", file)
    shown = run("plan", str(file), "--accept-licence", "brats")
    assert "CC-BY-NC-4.0, not for commercial use" in shown.output
    assert 'have seen here, which overlaps with cohort "here"' in shown.output
    out = tmp_path / "out"
    started = run("study", str(file), "--out", str(out), "--workers", "1", "--accept-licence", "brats")
    assert "CC-BY-NC-4.0 (not for commercial use)" in " ".join((started.output + started.stderr).split())
    exported = run("export", str(out), "--format", "bundle", "--out", str(tmp_path / "handed"))
    assert exported.exit_code == 0, exported.exception
    card = (tmp_path / "handed" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Made from brats: CC-BY-NC-4.0 (not for commercial use)" in card
    assert "overlaps with cohort" in (out / "report.html").read_text(encoding="utf-8")
    made = next(out.glob("runs/*/model"))
    again = yaml.safe_load(file.read_text())
    again["datasets"][0]["name"] = "renamed"
    again["common"]["source"] = str(made)
    again["recipes"] = again["recipes"][:1]
    file.write_text(yaml.safe_dump(again))
    name = yaml.safe_load((made / "card.yaml").read_text())["name"]
    assert f"--accept-licence {name}" in refusal("plan", file)
    second = tmp_path / "second"
    run("study", str(file), "--out", str(second), "--workers", "1", "--accept-licence", name)
    warnings = json.loads((second / "study.json").read_text())["warnings"]
    assert any('patients that "renamed" is tested on' in text for text in warnings)
