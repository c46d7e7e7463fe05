from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom.data
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.class_folder import FolderSpec, read_class_folder
from allograft.data.io.image import read_channels
from allograft.data.labels import LabelSpec
from allograft.data.manifest import UNKNOWN_GROUPS
from allograft.data.medmnist import read_medmnist
from allograft.data.sniff import open_data
from allograft.data.split import folds

DICOM = Path(pydicom.data.__file__).parent / "test_files"


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


@pytest.fixture
def classes(tmp_path):
    for i in range(4):
        picture(tmp_path / "d" / "benign" / f"P{i}_s{i % 2}.png", i)
        picture(tmp_path / "d" / "malignant" / "deep" / f"P{i + 4}_s1.png", i)
    (tmp_path / "d" / ".DS_Store").write_text("x")
    (tmp_path / "d" / "benign" / "notes.txt").write_text("x")
    (tmp_path / "d" / "benign" / "Thumbs.db").write_text("x")
    return tmp_path / "d"


def test_class_folder(classes):
    cohort = open_data(classes)
    assert cohort.task.classes == ("benign", "malignant")
    assert len(cohort) == 8
    assert cohort["benign/P1_s1.png"].targets == {"label": 0}
    assert UNKNOWN_GROUPS in cohort.notes
    assert any("left out: 1 .txt" in note for note in cohort.notes)


def test_groups_by_pattern(classes):
    picture(classes / "benign" / "P0_s9.png", 9)
    cohort = read_class_folder(classes, FolderSpec(group_pattern=r"(P\d+)_"))
    assert cohort["benign/P0_s9.png"].group == cohort["benign/P0_s0.png"].group == "P0"
    assert (len(cohort.groups), cohort.unit) == (8, "patient")
    named = read_class_folder(classes, FolderSpec(group_pattern=r"(x)?(?P<group>P\d+)"))
    assert named.groups == cohort.groups
    with pytest.raises(DataError, match="finds no patient"):
        read_class_folder(classes, FolderSpec(group_pattern=r"(Q\d+)_"))
    with pytest.raises(ConfigError, match="not a regular expression"):
        read_class_folder(classes, FolderSpec(group_pattern="("))
    with pytest.raises(ConfigError, match="has no group"):
        read_class_folder(classes, FolderSpec(group_pattern="P"))


def test_split_folders_and_unlabelled(tmp_path):
    for split, n in (("train", 3), ("valid", 1), ("test", 1)):
        for name in ("a", "b"):
            for i in range(n):
                picture(tmp_path / split / name / f"{split}{i}.png", i)
    cohort = read_class_folder(tmp_path)
    assert {case.split for case in cohort} == {"train", "val", "test"}
    assert len(folds(cohort)) == 1
    picture(tmp_path / "train" / "unlabelled" / "u.png")
    cohort = read_class_folder(tmp_path)
    assert cohort["train/unlabelled/u.png"].targets == {}
    assert folds(cohort)[0].unlabelled == ("train/unlabelled/u.png",)


def test_dicom_in_class_folders_is_grouped_by_patient(tmp_path):
    for name, target in (("CT_small.dcm", "a"), ("MR_small.dcm", "b"), ("MR_small_RLE.dcm", "b")):
        (tmp_path / target).mkdir(exist_ok=True)
        shutil.copy(DICOM / name, tmp_path / target / name)
    series = tmp_path / "a" / "series"
    series.mkdir()
    for i in range(2):
        shutil.copy(DICOM / "CT_small.dcm", series / f"{i}")
    cohort = open_data(tmp_path)
    assert len(cohort) == 4
    assert cohort["a/series"].group == cohort["a/CT_small.dcm"].group
    assert cohort["b/MR_small.dcm"].group == cohort["b/MR_small_RLE.dcm"].group
    assert cohort.unit == "patient"


def test_empty_and_single_classes_are_refused(tmp_path):
    picture(tmp_path / "a" / "x.png")
    with pytest.raises(DataError, match="all labels are 'a'"):
        open_data(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"b: no images in this class"):
        open_data(tmp_path)


def medmnist(path, image=(28, 28), columns=1, classes=3, **changes):
    """Synthetic file in the layout of MedMNIST."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, *image), dtype=np.uint8)
        labels = np.arange(n)[:, None] % classes if columns == 1 else rng.integers(0, 2, (n, columns))
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    arrays.update(changes)
    np.savez_compressed(path, **{name: value for name, value in arrays.items() if value is not None})
    return arrays


@pytest.mark.parametrize(
    ("image", "shape"),
    [((28, 28), (1, 28, 28)), ((64, 64, 3), (3, 64, 64)), ((28, 28, 28), (1, 28, 28, 28))],
)
def test_synthetic_medmnist(tmp_path, image, shape):
    arrays = medmnist(tmp_path / "toymnist_28.npz", image)
    cohort = open_data(tmp_path / "toymnist_28.npz")
    assert cohort.task.kind == "multiclass"
    case = cohort["val-000004"]
    assert (case.split, case.targets["label"]) == ("val", 1)
    read = read_channels(case.image)
    assert read.array.shape == shape
    want = arrays["val_images"][4]
    np.testing.assert_array_equal(read.array[0], want[..., 0] if shape[0] == 3 else want)
    assert cohort.seen_as == ("toymnist",)
    assert UNKNOWN_GROUPS in cohort.notes
    assert [len(part) for part in folds(cohort)[0][:3]] == [12, 6, 6]


def test_synthetic_medmnist_kinds(tmp_path):
    medmnist(tmp_path / "b.npz", classes=2)
    cohort = read_medmnist(tmp_path / "b.npz")
    assert (cohort.task.kind, cohort.task.classes) == ("binary", ("0", "1"))
    named = read_medmnist(tmp_path / "b.npz", LabelSpec(classes=("sick", "well"), positive="sick"))
    assert named.task.classes == ("well", "sick")
    assert named["train-000000"].targets["label"] == 1
    arrays = medmnist(tmp_path / "m.npz", columns=4)
    cohort = read_medmnist(tmp_path / "m.npz")
    assert cohort.task.kind == "multilabel"
    assert cohort["test-000003"].targets["label"] == tuple(arrays["test_labels"][3])
    named = read_medmnist(tmp_path / "m.npz", LabelSpec(classes=("a", "b", "c", "d")))
    assert named.task.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"val_labels": None}, "no data layout recognised"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, "do not fit 6 images"),
        ({"val_labels": np.full((6, 1), "a")}, "do not fit 6 images"),
        ({"val_labels": np.zeros((6, 2), np.uint8)}, "columns, expected the same number"),
        ({"val_labels": np.full((6, 1), -1, np.int8)}, "labels run from -1"),
        ({"val_images": np.zeros((6, 28), np.uint8)}, "expected a row per image"),
    ],
)
def test_bad_medmnist(tmp_path, changes, match):
    medmnist(tmp_path / "x.npz", **changes)
    with pytest.raises(DataError, match=match):
        open_data(tmp_path / "x.npz")


def test_folder_with_one_table(tmp_path):
    for i in range(4):
        picture(tmp_path / "images" / f"{i}.png", i)
    (tmp_path / "labels.csv").write_text("image,label\nimages/0.png,0\nimages/1.png,1\n")
    assert len(open_data(tmp_path)) == 2
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert len(open_data(tmp_path)) == 2
    (tmp_path / "labels.csv").rename(tmp_path / "third.csv")
    with pytest.raises(DataError, match=r"holds 2 tables \(other\.csv, third\.csv\)"):
        open_data(tmp_path)


def test_unknown_layouts_list_what_was_looked_for(tmp_path):
    picture(tmp_path / "x.png")
    for path in (tmp_path, tmp_path / "x.png"):
        with pytest.raises(DataError, match=r"Looked for: a \.csv.*MedMNIST.*class/image"):
            open_data(path)
    with pytest.raises(DataError, match="no such file"):
        open_data(tmp_path / "absent")
