from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import ImageRef
from allograft.data.io.image import read_channels
from allograft.data.manifest import UNKNOWN_GROUPS, ManifestSpec, read_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for i in range(6):
        PIL.Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / "img" / f"{i}.png")
    return tmp_path


def write(folder, text, name="data.csv", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


GOOD = """image,label,patient_id,site,split,age
img/0.png,benign,P0,A,train,50
img/1.png,malignant,P1,A,val,60
img/2.png,,P2,B,,70
img/3.png,malignant,P3,B,test,80
"""


def test_usual_columns(folder):
    cohort = read_manifest(write(folder, GOOD))
    case = cohort["img/1.png"]
    assert cohort.task.classes == ("benign", "malignant")
    assert (case.targets, case.group, case.domain, case.split) == ({"label": 1}, "P1", "A", "val")
    assert case.attributes == {"age": "60"}
    assert cohort["img/2.png"].targets == {}
    assert len(cohort.labelled()) == 3
    assert (cohort.unit, cohort.notes) == ("patient", ())
    assert read_channels(case.image).array[0, 0, 0] == 1


def test_any_columns_any_delimiter_any_root(folder):
    text = "bild;befund;fall\n1.png;krank;a\n2.png;gesund;b\n"
    path = write(folder, text, "daten.csv", "utf-8-sig")
    spec = ManifestSpec(image="bild", label="befund", group="fall", positive="krank", root="img", name="d")
    cohort = read_manifest(path, spec)
    assert cohort.task.classes == ("gesund", "krank")
    assert [case.group for case in cohort] == ["a", "b"]
    assert read_manifest(write(folder, text.replace(";", "\t"), "x.tsv"), spec).ids == cohort.ids


def test_channels_multilabel_regression_and_rows_of_arrays(folder):
    np.save(folder / "a.npy", np.zeros((5, 4, 4), np.uint8))
    path = write(folder, "t1,t2,edema,mass,score\nimg/0.png,img/1.png,1,0,1.5\nimg/2.png,img/3.png,no,yes,2\n")
    both = ManifestSpec(image=("t1", "t2"), label=("edema", "mass"))
    cohort = read_manifest(path, both)
    assert cohort.task.kind == "multilabel"
    assert [case.targets["label"] for case in cohort] == [(1, 0), (0, 1)]
    assert read_channels(cohort.cases[0].image).array[:, 0, 0].tolist() == [0, 1]
    spec = ManifestSpec(image="t1", label="score", kind="regression")
    assert [case.targets["label"] for case in read_manifest(path, spec)] == [1.5, 2.0]
    rows = write(folder, "image,label\na.npy[2],0\na.npy[4],1\n", "rows.csv")
    assert read_manifest(rows).cases[1].image == (ImageRef((folder / "a.npy").resolve(), "", 4),)


def test_unknown_patients_are_noted_and_endings_completed(folder):
    cohort = read_manifest(write(folder, "image_id,dx\nimg/0,nv\nimg\\1,mel\n"))
    assert UNKNOWN_GROUPS in cohort.notes
    assert cohort.unit == "image"
    assert [case.image[0].path.name for case in cohort] == ["0.png", "1.png"]
    assert len(cohort.groups) == 2


@pytest.mark.parametrize(
    ("text", "spec", "error", "match"),
    [
        (GOOD, {"label": "lable"}, ConfigError, r'data\.csv: no column "lable".*Did you mean "label"'),
        (GOOD, {"group": "pid"}, ConfigError, r'no column "pid" \(for the group.*Known: age, image'),
        ("a,b\n1,2\n", {}, ConfigError, r"no column for the image. Looked for image.*the file has a, b"),
        ("image,label\nimg/9.png,1\nimg/0.png,0\n", {}, DataError, r"line 2, column image: no such file.*9\.png"),
        ("image,label\nimg/0.png,1\nimg/0.png,0\n", {}, DataError, r"lines 2 and 3 name the same image"),
        ("image,label\nimg/0.png,1,x\n", {}, DataError, r"line 2: 3 cells, expected 2"),
        ("image,label,label\nimg/0.png,1,1\n", {}, DataError, r"'label' occurs more than once"),
        ("image,label\n", {}, DataError, r"holds no rows"),
        ("image,label\n,1\nimg/0.png,0\n", {}, DataError, r"line 2, column image: empty"),
        ("image,label,patient_id\nimg/0.png,1,\nimg/1.png,0,a\n", {}, DataError, r"line 2, column patient_id: empty"),
        ("image,label,split\nimg/0.png,1,fold1\nimg/1.png,0,test\n", {}, DataError, r"unknown split 'fold1'"),
        ("image,a,b\nimg/0.png,1,2\n", {"label": ("a", "b")}, DataError, r"line 2, column b: '2', expected 0 or 1"),
        ("image,a,b\nimg/0.png,1,\n", {"label": ("a", "b")}, DataError, r"line 2, column b: empty"),
        ("image,label,id\nimg/0.png,1,x\nimg/1.png,0,x\n", {}, DataError, r"lines 2 and 3 have the same id 'x'"),
        ("image,label\nimg/0.png,1\nimg/1.png,1\n", {}, DataError, r"all labels are '1'"),
        ('image,label\n"img/0.png,1\n', {}, DataError, r"cannot be read as a table"),
    ],
)
def test_bad_manifests_name_file_line_and_column(folder, text, spec, error, match):
    with pytest.raises(error, match=match):
        read_manifest(write(folder, text), ManifestSpec(**spec))


def test_not_a_table(folder):
    (folder / "x.csv").write_bytes(b"image,label\n\xff\xfe\xff,1\n")
    with pytest.raises(DataError, match=r"x\.csv: not UTF-8"):
        read_manifest(folder / "x.csv")
    with pytest.raises(DataError, match=r"absent\.csv"):
        read_manifest(folder / "absent.csv")


def test_missing_files_can_wait_for_the_audit(folder):
    path = write(folder, "image,label\nimg/8.png,1\nimg/9.png,0\n")
    assert len(read_manifest(path, check_files=False)) == 2


def test_explicit_id_column_names_cases(folder):
    cohort = read_manifest(write(folder, "image,label,case_id\nimg/0.png,1,one\nimg/1.png,0,two\n"))
    assert cohort.ids == ("one", "two")
