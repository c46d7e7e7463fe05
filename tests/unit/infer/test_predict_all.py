"""Classes of real volumes and pictures: rows, DICOM reports, several labels; compared with the networks by hand."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch

from allograft.catalog import parts
from allograft.core.task import Task
from allograft.data.case import ImageRef
from allograft.data.io.image import read_image
from allograft.data.normalise import Normaliser
from allograft.data.preprocess import Preprocess, prepare
from allograft.infer.bundle import Bundle
from allograft.infer.ensemble import Member, Predictor
from allograft.infer.inputs import find_inputs
from allograft.infer.outputs import choose_formats, output_files
from allograft.infer.predict_all import Output, predict_all
from allograft.infer.write_seg import Algorithm
from allograft.nets.build import build_network
from allograft.nets.spec import NetSpec
from real_series import REAL, write_series

pytestmark = pytest.mark.filterwarnings("ignore")
ALGORITHM = Algorithm(name="random", version="0", software="0")


def predictor_of(task, dims, size, seeds=(0, 1)):
    spec = NetSpec(encoder="resnet10_small", dims=dims, width=0.125)
    members = []
    for seed in seeds:
        net = build_network(spec, {"label": task}, in_channels=1, seed=seed, parts=parts(spec)).eval()
        for value in net.heads.parameters():
            torch.nn.init.normal_(value, std=2, generator=torch.Generator().manual_seed(seed))
        bundle = Bundle(
            net=spec,
            task=task,
            in_channels=1,
            preprocess=Preprocess(intensity="standard", size=size),
            normalise=Normaliser(scale=(1.0 + seed,), shift=(0.5 * seed,)),
            size=size,
            temperature=1 + seed,
            run=str(seed) * 16,
        )
        members.append(Member(net, bundle))
    return Predictor(tuple(members))


def by_hand(predictor, path):
    image = torch.from_numpy(prepare(read_image(ImageRef(path), dims=predictor.dims), predictor.preprocess))[None]
    out = []
    for member in predictor.members:
        with torch.no_grad():
            z = member.net(member.bundle.normalise(image)).logits["label"] / member.bundle.temperature
        out.append((z.sigmoid() if predictor.task.kind == "multilabel" else z.softmax(1))[0].numpy())
    return np.mean(out, axis=0)


def answered(predictor, given, folder, *formats):
    items = find_inputs([str(path) for path in given], dims=predictor.dims)
    formats = choose_formats(formats, predictor.task, items, dims=predictor.dims)
    out = Output(folder=folder, files=output_files(items, formats), algorithm=ALGORITHM)
    return predict_all(predictor, items, out)


def test_volumes_get_probabilities_and_a_report_each(tmp_path):
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    predictor = predictor_of(task, 3, (6, 16, 16))
    good = [write_series(tmp_path / "ct"), write_series(tmp_path / "mr", base="MR_small")]
    cut = write_series(tmp_path / "cut")
    sorted(cut.iterdir())[0].write_bytes(b"\0" * 128 + b"DICM")
    seen = []
    items = find_inputs([str(path) for path in [good[0], cut, good[1]]], dims=3)
    out = Output(folder=tmp_path, files=output_files(items, ("dicom-sr",)), algorithm=ALGORITHM)
    rows = predict_all(predictor, items, out, on_image=seen.append)
    assert seen == [1, 2, 3]
    assert str(cut) in rows[1]["error"]
    assert (rows[1]["written"], rows[1]["p_a"]) == ("", None)
    for row, path in zip(rows[::2], good, strict=True):
        expected = by_hand(predictor, path)
        assert [row[f"p_{name}"] for name in task.classes] == pytest.approx(expected.tolist(), abs=1e-5)
        groups = hd.sr.srread(tmp_path / row["written"]).content.get_image_measurement_groups()
        said = [float(group.get_measurements()[0].value) for group in groups]
        assert said == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(said) == pytest.approx(1)
        assert task.classes[int(expected.argmax())] == row["predicted"]
    assert not (tmp_path / "cut_sr.dcm").exists()


def test_every_label_above_a_half_is_predicted_in_a_report(tmp_path):
    task = Task(kind="multilabel", classes=("x", "y", "z", "w"))
    predictor = predictor_of(task, 2, (16, 16))
    slice_ = REAL / "MR_small.dcm"
    [row] = answered(predictor, [slice_], tmp_path, "dicom-sr")
    expected = by_hand(predictor, slice_)
    name = hd.sr.CodedConcept("PREDICTED", "99ALLOGRAFT", "Predicted by the algorithm")
    groups = hd.sr.srread(tmp_path / row["written"]).content.get_image_measurement_groups()
    yes = [group.get_qualitative_evaluations(name=name)[0].value.meaning == "Yes" for group in groups]
    assert yes == (expected > 0.5).tolist()
    assert 0 < sum(yes) < 4


def test_headers_without_a_patient_leave_the_row_and_say_so(tmp_path):
    data = pydicom.dcmread(REAL / "MR_small.dcm")
    del data.PatientID
    data.save_as(tmp_path / "nobody.dcm")
    predictor = predictor_of(Task(kind="binary", classes=("n", "y")), 2, (16, 16))
    [row] = answered(predictor, [tmp_path / "nobody.dcm"], tmp_path / "out", "dicom-sr")
    assert "nobody.dcm" in row["error"]
    assert row["p_y"] is not None
    assert row["written"] == ""
    [plain] = answered(predictor, [tmp_path / "nobody.dcm"], tmp_path / "out", "csv")
    assert (plain["error"], "written" in plain) == ("", False)
