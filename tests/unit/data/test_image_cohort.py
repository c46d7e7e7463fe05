"""Images of any place as cases without labels: which files, and whose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allograft.core.errors import DataError
from allograft.data.class_folder import FolderSpec
from allograft.data.image_cohort import NOTHING, open_images
from allograft.data.manifest import ManifestSpec


def pictures(folder: Path, *names: str) -> Path:
    """Write synthetic grey pictures."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), number, np.uint8)).save(folder / name)
    return folder


def test_images_at_any_depth_are_cases_of_the_folder_that_they_lie_in(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "scans", "P1/a.png", "P1/b.jpg", "P2/early/c.tif", "P3/d.png", "e.bmp")
    (folder / "notes.txt").write_text("x")
    found = open_images(folder)
    assert found.name == "scans"
    assert found.task == NOTHING
    assert not len(found.labelled())
    assert dict(zip(found.ids, (case.group for case in found), strict=True)) == {
        "P1/a.png": "P1",
        "P1/b.jpg": "P1",
        "P2/early/c.tif": "P2/early",
        "P3/d.png": "P3",
        "e.bmp": "e.bmp",
    }
    assert found.unit == "folder"
    assert any("left out: 1 .txt" in note for note in found.notes)


def test_a_pattern_names_the_patient_and_few_folders_name_none(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "one/P1-a.png", "one/P1-b.png", "two/P2-a.png")
    plain = open_images(folder)
    assert plain.unit == "image"
    assert len(plain.groups) == 3
    found = open_images(folder, folder=FolderSpec(group_pattern=r"(P\d)-"))
    assert found.unit == "patient"
    assert found.groups == ("P1", "P2")
    with pytest.raises(DataError, match="finds no patient"):
        open_images(folder, folder=FolderSpec(group_pattern=r"(Q\d)-"))


def test_dicom_says_whose_it_is(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    for name in ("CT_small.dcm", "MR_small.dcm"):
        (tmp_path / name).write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    found = open_images(tmp_path)
    assert found.unit == "patient"
    assert len(found.groups) == 2
    assert not set(found.groups) & set(found.ids)


def test_a_table_needs_no_label_and_keeps_group_site_and_split(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    table = tmp_path / "list.csv"
    table.write_text("file,who,site,split\na.png,P1,X,train\nb.png,P2,Y,test\n")
    found = open_images(table, manifest=ManifestSpec(group="who"))
    assert [(c.group, c.domain, c.split) for c in found] == [("P1", "X", "train"), ("P2", "Y", "test")]
    assert found.unit == "patient"
    assert found.name == "list"
    table.write_text("file\na.png\nmissing.png\n")
    with pytest.raises(DataError, match="no such file"):
        open_images(table)


def test_masks_of_a_known_layout_are_no_images_to_learn_from(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a.png", "masks/b.png")
    found = open_images(folder)
    assert len(found) == 3
    assert all(ref.path.parent.name == "images" for case in found for ref in case.image)
    assert not any(case.targets for case in found)


@pytest.mark.parametrize(("make", "said"), [(False, "no such file or folder"), (True, "no images in this folder")])
def test_nothing_to_learn_from_is_said(make: bool, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(DataError, match=said):
        open_images(folder)
