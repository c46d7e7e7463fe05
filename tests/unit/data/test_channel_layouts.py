"""Layouts that name their channels say so on the cohort; synthetic files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.bids import read_bids
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.decathlon import read_decathlon
from allograft.data.manifest import ManifestSpec, read_manifest
from allograft.data.nnunet import read_nnunet
from allograft.study.admission import require_channels
from allograft.study.grid import study_from


def volume(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full((4, 4, 4), value, np.uint8)
    array[1, 1, 1] = 1
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def test_nnunet_and_the_decathlon_name_channels_in_order_of_their_numbers(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a"):
        volume(raw / f"{name}.nii.gz")
    said = {"labels": {"background": 0, "x": 1}, "numTraining": 1, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps({**said, "channel_names": {"1": "T2", "0": "FLAIR"}}))
    cohort = read_nnunet(raw)
    assert cohort.channels == cohort.channel_names(2) == ("FLAIR", "T2")
    assert cohort.channel_names(3) == ()
    listed = {"labels": {"0": "background", "1": "x"}, "training": [{"image": "a.nii.gz", "label": "m.nii.gz"}]}
    for name in ("a", "m"):
        volume(tmp_path / "msd" / f"{name}.nii.gz")
    (tmp_path / "msd" / "dataset.json").write_text(json.dumps({**listed, "modality": {"0": "FLAIR", "1": "t1gd"}}))
    assert read_decathlon(tmp_path / "msd").channels == ("FLAIR", "t1gd")
    (tmp_path / "msd" / "dataset.json").write_text(json.dumps(listed))
    assert read_decathlon(tmp_path / "msd").channels == ()


def test_bids_suffixes_and_columns_of_a_table_are_names(tmp_path: Path) -> None:
    for suffix in ("T1w", "FLAIR", "dseg"):
        volume(tmp_path / "bids" / "sub-1" / "anat" / f"sub-1_{suffix}.nii.gz")
    assert read_bids(tmp_path / "bids").channels == ("FLAIR", "T1w")
    for name in ("a", "b"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("adc,dwi,label\na.png,b.png,x\nb.png,a.png,y\n")
    assert read_manifest(tmp_path / "t.csv", ManifestSpec(image=("adc", "dwi"))).channels == ("adc", "dwi")
    assert read_manifest(tmp_path / "t.csv", ManifestSpec(image="adc")).channels == ()


@pytest.mark.parametrize(("file", "channels", "names"), [("a.png", 3, ("red", "green", "blue")), ("a.nii.gz", 3, ())])
def test_pictures_in_colour_have_the_names_of_colours(file: str, channels: int, names: tuple[str, ...]) -> None:
    case = Case(id="a", image=(ImageRef(Path(file)),), group="a")
    cohort = Cohort("c", Task(kind="binary", classes=("n", "p")), (case,))
    assert cohort.channel_names(channels) == names
    assert cohort.channel_names(1) == ()


def test_data_sets_with_the_same_channels_in_other_orders_are_refused() -> None:
    data = [{"name": name, "path": "x"} for name in ("here", "there")]
    fields = {
        "study": "s",
        "datasets": data,
        "baseline": "r",
        "recipes": [{"name": "r", "net": {"encoder": "cbr_tiny"}}],
    }
    study, task = study_from(fields, where="test"), Task(kind="binary", classes=("n", "p"))
    cohorts = {"here": Cohort("here", task, (), channels=("t1", "flair"))}
    other = Cohort("there", task, (), channels=("FLAIR", "T1w"))
    with pytest.raises(ConfigError, match="same channels in another order"):
        require_channels(study, {**cohorts, "there": other}, {})
    for names in (("T1w", "t2f"), ("ct", "pet"), ()):
        require_channels(study, {**cohorts, "there": Cohort("there", task, (), channels=names)}, {})
