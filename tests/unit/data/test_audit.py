from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

from allograft.core.task import Task
from allograft.data.audit import audit, audit_path
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.look import look
from allograft.data.manifest import ManifestSpec

RNG = np.random.default_rng(0)


def noise(shape=(16, 16)):
    return RNG.integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    """Synthetic pictures with a table: 12 patients, two each, balanced."""

    class Data:
        folder = tmp_path
        rows: list[list[str]] = []  # noqa: RUF012 - filled anew below

        def add(self, name, array, label, patient, site="A", split=""):
            PIL.Image.fromarray(array).save(tmp_path / name)
            self.rows.append([name, label, patient, site, split])

        def audit(self, **more):
            lines = [",".join(row) for row in [["image", "label", "patient_id", "site", "split"], *self.rows]]
            (tmp_path / "d.csv").write_text("\n".join(lines))
            return audit_path(tmp_path / "d.csv", **more)

        def kinds(self):
            return {problem.kind: problem for problem in self.audit().problems}

    made = Data()
    made.rows = []
    for p in range(12):
        for s in range(2):
            made.add(f"P{p}_s{s}.png", noise(), str(p % 2), f"P{p}", "AB"[(p // 2) % 2])
    return made


def test_good_data_have_no_problems(data):
    seen = []
    result = data.audit(progress=lambda done, total: seen.append((done, total)))
    assert result.problems == ()
    assert result.ok
    assert (result.cases, result.labelled, result.groups, result.cases_per_group) == (24, 24, 12, (2, 2.0, 2))
    assert result.sizes == {"16x16": 24}
    assert (result.dims, result.channels, result.types) == ({"2-D": 24}, {"1": 24}, {"uint8": 24})
    assert [(c.name, c.cases, c.groups) for c in result.classes] == [("0", 12, 6), ("1", 12, 6)]
    assert result.domains == {"A": 12, "B": 12}
    assert seen[-1] == (24, 24)


def test_unreadable_and_missing_images_are_all_listed(data):
    (data.folder / "P0_s0.png").write_bytes((data.folder / "P0_s0.png").read_bytes()[:60])
    (data.folder / "P1_s0.png").unlink()
    (data.folder / "P2_s0.png").write_bytes(b"")
    found = data.kinds()["unreadable"]
    assert found.severity == "error"
    assert found.cases == ("P0_s0.png", "P1_s0.png", "P2_s0.png")
    assert all(name in text for name, text in zip(found.cases, found.details, strict=True))
    assert not data.audit().ok


def test_duplicates_across_groups_are_a_leak_and_within_a_warning(data):
    copy = np.asarray(PIL.Image.open(data.folder / "P0_s0.png"))
    data.add("copy.png", copy, "0", "P8")
    data.add("again.png", copy, "0", "P0")
    data.add("wrong.png", copy, "1", "P0")
    found = data.kinds()
    assert found["leak"].severity == "error"
    assert found["leak"].details == ("P0_s0.png = copy.png",)
    assert found["copies"].severity == "warning"
    assert found["contradicting_labels"].cases == ("P0_s0.png", "wrong.png")


def test_near_duplicates_are_a_warning(data):
    array = np.kron(RNG.integers(0, 200, (8, 8)), np.ones((8, 8), int)).astype(np.uint8)
    data.add("one.png", array, "0", "P0")
    data.add("two.png", array + 3, "0", "P2")
    found = data.kinds()
    assert found["near_leak"].details == ("one.png = two.png",)
    assert data.audit().ok


def test_odd_images(data):
    data.add("flat.png", np.full((16, 16), 9, np.uint8), "0", "P0")
    data.add("wide.png", noise((16, 20)), "0", "P0")
    data.add("colour.png", noise((16, 16, 3)), "0", "P0")
    np.save(data.folder / "nan.npy", np.full((16, 16), np.nan, np.float32))
    np.save(data.folder / "volume.npy", RNG.normal(size=(8, 16, 16)).astype(np.float32))
    data.rows += [["nan.npy", "0", "P0", "A", ""], ["volume.npy", "0", "P0", "A", ""]]
    found = data.kinds()
    assert found["constant"].cases == ("flat.png", "nan.npy")
    assert found["not_finite"].severity == "error"
    assert found["not_finite"].cases == ("nan.npy",)
    assert found["mixed_dims"].severity == "error"
    assert found["mixed_dims"].cases == ("volume.npy",)
    assert {found[f"mixed_{name}"].severity for name in ("sizes", "channels", "types")} == {"warning"}


def test_rare_class_and_unlabelled(data):
    data.add("odd.png", noise(), "2", "P0")
    data.add("none.png", noise(), "", "P0")
    found = data.kinds()
    assert found["rare_class"].severity == "error"
    assert "class '2' has 1 case(s) in 1 group(s)" in found["rare_class"].text
    assert found["unlabelled"].cases == ("none.png",)


def test_fixed_splits(data):
    for i, row in enumerate(data.rows):
        row[4] = ("train", "val", "test")[i // 8]
    assert data.audit().ok
    data.rows[0][4] = "test"
    found = data.kinds()["group_in_two_splits"]
    assert found.severity == "error"
    assert found.cases == ("P0_s0.png", "P0_s1.png")
    data.rows[0][4] = "train"
    for row in data.rows[16:]:
        row[1] = "0"
    assert "has no case of 1" in data.kinds()["class_missing_in_split"].text


def test_the_same_picture_in_two_fixed_splits(data):
    for i, row in enumerate(data.rows):
        row[4] = ("train", "val", "test")[i // 8]
    copy = np.asarray(PIL.Image.open(data.folder / "P0_s0.png"))
    data.add("copy.png", copy, "0", "P11", split="test")
    assert data.kinds()["split_leak"].severity == "error"


def test_names_that_share_a_beginning_across_groups(data):
    for i, row in enumerate(data.rows):
        row[2] = f"g{i}"
    found = data.kinds()["name_prefix"]
    assert (found.severity, found.count) == ("warning", 12)
    assert "P3_s1.png" in found.cases


def test_unknown_groups_and_few_groups(tmp_path):
    for i in range(4):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            PIL.Image.fromarray(noise()).save(tmp_path / name / f"{i}.png")
    kinds = {problem.kind for problem in audit_path(tmp_path).problems}
    assert kinds == {"unknown_groups", "rare_class"}


def test_shortcuts_are_named(data):
    for row in data.rows:
        row[3] = f"site{row[1]}"
    found = data.kinds()["shortcut"]
    assert "domain alone tells the class of 100% of cases (the most frequent class: 50%)" in found.text


def test_imbalance(data):
    for i in range(130):
        data.add(f"more{i}x.png", noise(), "0", f"M{i}")
    assert "imbalance" in data.kinds()


def test_data_that_cannot_be_opened_are_an_error_of_the_audit(tmp_path):
    result = audit_path(tmp_path / "absent")
    assert not result.ok
    assert "no such file" in result.problems[0].details[0]
    (tmp_path / "x.csv").write_text("image,label\na.png,1\n")
    result = audit_path(tmp_path / "x.csv", manifest=ManifestSpec(label="lable"))
    assert 'no column "lable"' in result.problems[0].details[0]


def test_json_with_a_salt_names_nobody(data):
    (data.folder / "P0_s0.png").unlink()
    copy = np.asarray(PIL.Image.open(data.folder / "P1_s0.png"))
    data.add("copy.png", copy, "1", "P3")
    result = data.audit()
    plain, hidden = result.json_text(), result.json_text(salt="s")
    assert json.loads(plain)["ok"] is False
    for name in ("P0_s0", "P1_s0", "copy.png", str(data.folder)):
        assert name in plain
        assert name not in hidden
    assert json.loads(hidden)["problems"][0]["count"] == 1
    assert len(json.loads(hidden)["duplicates"][0]["first"]) == 10


def test_every_synthetic_image_is_read_once(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", RNG.integers(0, 255, (200, 64, 64), dtype=np.uint8))
    cases = tuple(
        Case(id=str(i), image=(ImageRef(tmp_path / "x.npy", "", i),), targets={"label": i % 2}, group=str(i))
        for i in range(200)
    )
    looked = []

    def counted(case, head):
        looked.append(case.id)
        return look(case, head)

    monkeypatch.setattr("allograft.data.audit.look", counted)
    result = audit(Cohort(name="x", task=Task(kind="binary", classes=("0", "1")), cases=cases))
    assert result.ok
    assert looked == [case.id for case in cases]
