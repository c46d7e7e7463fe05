"""The audit of volumes and masks: broken copies of real volumes (nibabel's, pydicom's) and synthetic masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest

from allograft.core.private import pseudonym
from allograft.core.task import Task
from allograft.data.audit import audit
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.laterality import sided_classes
from allograft.data.preprocess import Preprocess
from real_series import write_series

ANATOMICAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
TASK = Task(kind="segmentation", classes=("background", "organ", "lesion"))
pytestmark = pytest.mark.filterwarnings("ignore")


class Data:
    """Crops of nibabel's real anatomical volume, one a patient, each with a synthetic mask of two classes."""

    def __init__(self, folder, patients=7):
        self.folder, self.task, self.splits = folder, TASK, {}
        self.classes = ()
        real = nibabel.load(ANATOMICAL)
        self.affine, self.real = real.affine, np.asarray(real.dataobj)
        self.names = []
        for i in range(patients):
            self.put(f"P{i}", self.crop(i), self.mask(i))

    def crop(self, i):
        return self.real[3 + i : 27 + i, 4:34, 2:22].copy()

    def mask(self, i):
        labels = np.zeros((24, 30, 20), np.uint8)
        labels[5:12, 6 : 12 + i, 5:12] = 1
        labels[14:17, 18:23, 6 : 10 + i] = 2
        return labels

    def put(self, name, image=None, mask=None, affine=None, mask_affine=None):
        affine = self.affine if affine is None else affine
        if image is not None:
            nibabel.save(nibabel.Nifti1Image(image, affine), self.folder / f"{name}.nii.gz")
        if mask is not None:
            there = affine if mask_affine is None else mask_affine
            nibabel.save(nibabel.Nifti1Image(mask, there), self.folder / f"{name}-m.nii.gz")
        if name not in self.names:
            self.names.append(name)

    def cohort(self):
        cases = tuple(
            Case(
                id=name,
                image=(self.image_of(name),),
                targets={"label": ImageRef(self.folder / f"{name}-m.nii.gz", classes=self.classes)},
                group=name.split("_")[0],
                split=self.splits.get(name, ""),
            )
            for name in self.names
        )
        return Cohort(name="d", task=self.task, cases=cases)

    def image_of(self, name):
        folder = self.folder / name
        return ImageRef(folder if folder.is_dir() else self.folder / f"{name}.nii.gz")

    def kinds(self, **more):
        return {problem.kind: problem for problem in audit(self.cohort(), **more).problems}


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def turned(array, affine, codes):
    image = nibabel.Nifti1Image(array, affine)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes))
    out = image.as_reoriented(turn)
    return np.asarray(out.dataobj), out.affine


def test_real_volumes_with_synthetic_masks_have_no_problems(data):
    found = audit(data.cohort())
    assert found.problems == ()
    assert [(c.name, c.cases, c.groups) for c in found.classes] == [("organ", 7, 7), ("lesion", 7, 7)]
    codes = "".join(nibabel.aff2axcodes(data.affine))
    assert found.orientations == {codes: 7}


def test_mixed_orientation_is_read_from_the_files_and_named(data):
    usual = "".join(nibabel.aff2axcodes(data.affine))
    for name, codes in (("P2", "SPR"), ("P4", "AIL")):
        image, affine = turned(data.crop(int(name[1])), data.affine, codes)
        mask, _ = turned(data.mask(int(name[1])), data.affine, codes)
        data.put(name, image, mask, affine)
    found = data.kinds()
    assert set(found) == {"mixed_orientation"}
    assert found["mixed_orientation"].cases == ("P2", "P4")
    assert all(f"{codes}: {count}" in found["mixed_orientation"].text for codes, count in ((usual, 5), ("SPR", 1)))


def test_mixed_spacing_says_what_resampling_would_do_and_is_settled_by_it(data):
    steps = np.array([1.0, 1, 1.4, 1])
    for i in range(7):
        data.put(f"P{i}", data.crop(i), data.mask(i), np.diag(steps))
    assert data.kinds() == {}
    data.put("P3", data.crop(3), data.mask(3), np.diag([1.0, 2.5, 1.4, 1]))
    found = data.kinds()
    assert set(found) == {"mixed_spacing", "mixed_thickness"}
    assert "back-front 1 to 2.5 mm, 2.5 times" in found["mixed_spacing"].text
    assert "preprocess.spacing: median would resample all to 1.4 x 1 x 1 mm" in found["mixed_spacing"].text
    assert found["mixed_spacing"].cases == ("P3",)
    assert "mixed_spacing" not in data.kinds(preprocess=Preprocess(spacing="median", intensity="standard"))
    assert "mixed_spacing" in data.kinds(preprocess=Preprocess(intensity="standard"))


def test_slices_of_other_thickness_and_in_other_planes(data):
    for i in range(7):
        data.put(f"P{i}", data.crop(i), data.mask(i), np.diag([1.0, 1, 3, 1]))
    assert data.kinds() == {}
    data.put("P1", data.crop(1), data.mask(1), np.diag([1.0, 1, 6, 1]))
    found = data.kinds(preprocess=Preprocess(spacing="median", intensity="standard"))
    assert set(found) == {"mixed_thickness"}
    assert "3 to 6 mm apart (2 times)" in found["mixed_thickness"].text
    assert found["mixed_thickness"].cases == ("P1",)
    data.put("P1", data.crop(1), data.mask(1), np.diag([3.0, 1, 1, 1]))
    found = data.kinds()
    assert found["mixed_planes"].cases == ("P1",)
    assert "feet-head: 6, left-right: 1" in found["mixed_planes"].text


def test_sizes_are_told_by_what_will_happen_to_them(data):
    data.put("P1", data.crop(1)[:-2], data.mask(1)[:-2])
    found = data.kinds()
    assert "Nothing is resized: training reads patches" in found["mixed_sizes"].text
    sized = data.kinds(preprocess=Preprocess(size=(16, 16, 16), intensity="standard"))
    assert "All are resized to 16x16x16" in sized["mixed_sizes"].text
    cases = tuple(
        Case(id=c.id, image=c.image, targets={"label": i % 2}, group=c.group) for i, c in enumerate(data.cohort())
    )
    whole = audit(Cohort(name="d", task=Task(kind="binary", classes=("no", "yes")), cases=cases))
    (sizes,) = [p for p in whole.problems if p.kind == "mixed_sizes"]
    assert "set preprocess.size" in sizes.text


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda m, a: (m[:-1], a), "shape"),
        (lambda m, a: (m, a @ np.diag([1, 1, 1.5, 1])), "spacing"),
        (lambda m, a: (m, a + np.pad([[9.0]], ((0, 3), (3, 0)))), "position"),
        (lambda m, a: (m, nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.2)) @ a), "orientation"),
    ],
)
def test_a_mask_on_another_grid_names_the_case_and_what_differs(data, broken, what):
    mask, affine = broken(data.mask(2), data.affine)
    data.put("P2", mask=mask, mask_affine=affine)
    found = data.kinds()
    assert set(found) == {"mask_grid"}
    assert found["mask_grid"].severity == "error"
    assert found["mask_grid"].cases == ("P2",)
    assert f"in {what}:" in found["mask_grid"].details[0]
    assert "P2-m.nii.gz" in found["mask_grid"].details[0]
    assert "Resample" in found["mask_grid"].text


def test_values_that_are_no_class_propose_a_map(data):
    data.task = Task(kind="segmentation", classes=("background", "organ"))
    for i in range(7):
        data.put(f"P{i}", mask=(255 * (data.mask(i) > 0)).astype(np.uint8))
    found = data.kinds()["mask_values"]
    assert found.severity == "error"
    assert found.count == 7
    assert "Set mask_values: [0, 255] if they mean 0 = background, 255 = organ" in found.text
    data.classes = (("0", 0), ("255", 1))
    assert data.kinds() == {}
    data.put("P5", mask=data.mask(5))
    found = data.kinds()["mask_values"]
    assert found.cases == ("P5",)
    assert "holds the value 1, 2, which is no class" in found.details[0]


def test_one_structure_in_two_codings(data):
    data.classes = (("0", 0), ("1", 1), ("255", 2))
    for i in range(7):
        data.put(f"P{i}", mask=((data.mask(i) > 0) * (255 if i < 2 else 1)).astype(np.uint8))
    found = data.kinds()["two_codings"]
    assert found.severity == "error"
    assert found.cases == ("P0", "P1")
    assert "5 mask(s) hold 0 and 1, 2 hold 0 and 255" in found.text


def test_label_sets_that_differ(data):
    for i in range(3):
        data.put(f"P{i}", mask=np.where(data.mask(i) == 2, 2, 0).astype(np.uint8))
    for i in range(3, 7):
        data.put(f"P{i}", mask=np.where(data.mask(i) == 1, 1, 0).astype(np.uint8))
    found = data.kinds()
    assert set(found) == {"label_sets"}
    assert '4 mask(s) have only "organ", 3 only "lesion"' in found["label_sets"].text
    assert found["label_sets"].cases == ("P0", "P1", "P2")


def test_classes_that_few_masks_or_none_have(data):
    for i in range(1, 7):
        data.put(f"P{i}", mask=np.where(data.mask(i) == 2, 0, data.mask(i)))
    found = data.kinds()
    assert '"lesion" in 1' in found["rare_class"].text
    assert found["rare_class"].cases == ("P0",)
    data.splits = {f"P{i}": ("test", "train", "val")[i % 3] for i in range(7)}
    missing = [p for p in audit(data.cohort()).problems if p.kind == "class_missing_in_split"]
    assert [p.severity for p in missing] == ["error", "warning"]
    assert "split 'train' has no mask with \"lesion\"" in missing[0].text
    data.splits = {}
    data.put("P0", mask=np.where(data.mask(0) == 2, 0, data.mask(0)))
    assert '"lesion"' in data.kinds()["absent_class"].text


def test_empty_masks_and_specks_are_named(data):
    data.put("P1", mask=np.zeros_like(data.mask(1)))
    speck = np.where(data.mask(4) == 2, 0, data.mask(4))
    speck[20, 20, 10:13] = 2
    data.put("P4", mask=speck)
    found = data.kinds()
    assert {kind: found[kind].cases for kind in found} == {"empty_mask": ("P1",), "tiny_structure": ("P4",)}
    assert '"lesion" in 1' in found["tiny_structure"].text


def test_a_mask_where_the_image_shows_nothing(data):
    image = data.crop(3)
    image[:12] = image.min()
    shifted = np.zeros_like(data.mask(3))
    shifted[1:10, 6:16, 5:12], shifted[13:16, 6:10, 5:9] = 1, 2
    data.put("P3", image, shifted)
    assert data.kinds()["mask_off_image"].cases == ("P3",)
    data.put("P3", image, shifted[::-1].copy())
    assert "mask_off_image" not in data.kinds()


def test_copies_of_real_volumes_and_of_masks(data):
    data.put("P8", data.crop(1), data.mask(1))  # P1 again, in another patient
    image, affine = turned(data.crop(2), data.affine, "SPR")  # P2 again, stored otherwise
    data.put("P9", image, turned(data.mask(2), data.affine, "SPR")[0], affine)
    data.put("P10", data.crop(3), data.mask(4))  # P3's image with P4's mask
    found = data.kinds()
    assert found["leak"].details == ("P1 = P8", "P2 = P9", "P3 = P10")
    assert found["contradicting_labels"].details == ("P3 = P10",)
    data.names.remove("P10")
    assert "contradicting_labels" not in data.kinds()
    data.put("P6", mask=data.mask(0))
    found = data.kinds()["same_mask"]
    assert (found.severity, found.details) == ("warning", ("P0 = P6",))
    data.splits = {name: "train" if name != "P8" else "test" for name in data.names}
    assert data.kinds()["split_leak"].cases == ("P1", "P8")
    data.names.append("P8_again")
    for end in (".nii.gz", "-m.nii.gz"):
        shutil.copy(data.folder / f"P5{end}", data.folder / f"P8_again{end}")
    data.splits["P8_again"] = "train"
    assert data.kinds()["group_in_two_splits"].cases == ("P8", "P8_again")


def test_values_that_are_not_finite_or_on_another_scale(data):
    nan = data.crop(1).astype(np.float32)
    nan[0, 0, :2] = np.nan, np.inf
    data.put("P1", nan)
    found = data.kinds()
    assert (found["not_finite"].severity, found["not_finite"].cases) == ("error", ("P1",))
    data.put("P1", (data.crop(1) / data.crop(1).max()).astype(np.float32))
    found = data.kinds()["mixed_scale"]
    assert found.cases == ("P1",)
    for i in range(7):
        data.put(
            f"P{i}", (data.crop(i).astype(np.int32) - data.crop(i).min() - (0 if i == 5 else 1024)).astype(np.int16)
        )
    found = data.kinds()["mixed_scale"]
    assert found.cases == ("P5",)
    assert "rescale intercept" in found.text


def cut_short(folder, keep, slice_number=0):
    file = sorted(folder.iterdir(), key=position)[slice_number]
    file.write_bytes(file.read_bytes()[:keep])


def another_turn(folder):
    write_series(folder / "aside", count=1, turn=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    moved = next((folder / "aside").iterdir())
    own = next(iter(sorted(folder.glob("*.dcm"))))
    wrong, right = pydicom.dcmread(moved), pydicom.dcmread(own)
    right.ImageOrientationPatient = wrong.ImageOrientationPatient
    right.save_as(own)
    shutil.rmtree(folder / "aside")


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (lambda folder: sorted(folder.iterdir(), key=position)[2].unlink(), "missing"),
        (lambda folder: shutil.copy(sorted(folder.iterdir())[2], folder / "again.dcm"), "same place"),
        (another_turn, "orientation"),
        (lambda folder: cut_short(folder, 100), "cut short"),
        (lambda folder: cut_short(folder, 700), "cut short"),
        (lambda folder: cut_short(folder, 900, -1), "cut short"),
        (lambda folder: cut_short(folder, -200), "cut short"),
        (lambda folder: cut_short(folder, -200, -1), "cut short"),
    ],
)
def test_broken_copies_of_a_real_ct_series_are_errors_that_name_case_and_folder(tmp_path, broken, text):
    names = [f"S{i}" for i in range(4)]
    for name in names:
        write_series(tmp_path / name, count=5)
    broken(tmp_path / "S2")
    cases = tuple(Case(id=n, image=(ImageRef(tmp_path / n),), targets={"label": 0}, group=n) for n in names)
    found = {p.kind: p for p in audit(Cohort(name="ct", task=TASK, cases=cases)).problems}
    assert found["unreadable"].severity == "error"
    assert found["unreadable"].cases == ("S2",)
    assert text in found["unreadable"].details[0]
    assert "S2" in found["unreadable"].details[0]


def position(path):
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


def test_a_truncated_and_a_missing_mask_and_an_image_as_mask(data):
    whole = (data.folder / "P1-m.nii.gz").read_bytes()
    (data.folder / "P1-m.nii.gz").write_bytes(whole[: len(whole) // 2])
    (data.folder / "P2-m.nii.gz").unlink()
    data.put("P3", mask=(data.crop(3) / 7).astype(np.float32))
    found = data.kinds()["mask_unreadable"]
    assert found.severity == "error"
    assert found.cases == ("P1", "P2", "P3")
    for name, word in zip(found.cases, ("cut short", "no such mask", "whole numbers"), strict=True):
        (text,) = [detail for detail in found.details if detail.startswith(f"{name}: ")]
        assert word in text


def test_no_problem_of_masks_names_a_case_where_ids_are_hidden(data):
    data.put("P1", mask=np.zeros_like(data.mask(1)))
    data.put("P2", mask=data.mask(2)[:-1])
    data.put("P6", mask=data.mask(0))
    hidden = audit(data.cohort()).hidden("salt")
    assert {p.kind for p in hidden.problems} == {"empty_mask", "mask_grid", "same_mask"}
    assert next(p for p in hidden.problems if p.kind == "empty_mask").cases == (pseudonym("P1", "salt"),)
    assert not any(name in p.text or p.details for p in hidden.problems for name in data.names)


def test_synthetic_pictures_with_masks_of_0_and_255(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for i in range(6):
        mask = np.zeros((32, 30), np.uint8)
        mask[4 : 12 + i, 5:14] = 255
        for name, array in (("i", rng.integers(1, 255, mask.shape, dtype=np.uint8)), ("m", mask)):
            PIL.Image.fromarray(array).save(tmp_path / f"{name}{i}.png")
        target = {"label": ImageRef(tmp_path / f"m{i}.png", classes=(("0", 0), ("255", 1)))}
        cases.append(Case(id=str(i), image=(ImageRef(tmp_path / f"i{i}.png"),), targets=target, group=str(i)))
    task = Task(kind="segmentation", classes=("background", "nucleus"))
    assert audit(Cohort(name="p", task=task, cases=tuple(cases))).problems == ()


def test_classes_that_say_a_side_are_a_warning(data):
    assert "laterality" not in data.kinds()
    data.task = Task(kind="segmentation", classes=("background", "kidney_L", "kidney_R"))
    found = data.kinds()["laterality"]
    assert found.severity == "warning"
    assert "kidney_L, kidney_R" in found.text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("lung left", "lung right", "heart"), 2),
        (("LeftVentricle", "aorta"), 1),
        (("hippocampus.sin", "hippocampus.dext"), 2),
        (("arteria carotis sinistra", "arteria carotis dextra"), 2),
        (("L", "R"), 2),
        (("eye_l", "eye_r", "nose"), 2),
        (("vertebra_L", "vertebra_T"), 0),
        (("L1", "L2", "L3"), 0),
        (("bright", "copyright", "cleft"), 0),
        (("benign", "malignant"), 0),
    ],
)
def test_sides_are_found_in_names(names, expected):
    assert len(sided_classes(names)) == expected


def test_synthetic_registered_volumes_that_look_alike_are_a_warning_and_copies_an_error() -> None:
    """Scans of two people in one template space resemble each other; only an equal one is a copy."""
    from allograft.core.task import Task
    from allograft.data.audit_images import duplicate_problems
    from allograft.data.case import Case, ImageRef
    from allograft.data.cohort import Cohort
    from allograft.data.duplicates import Duplicate

    task = Task(kind="binary", classes=("no", "yes"))
    cases = tuple(
        Case(id=name, image=(ImageRef(Path(name)),), group=name, split=split)
        for name, split in (("a", "train"), ("b", "test"))
    )
    cohort = Cohort("synthetic", task, cases)

    def found(*, exact: bool, volumes: frozenset[str]) -> dict[str, str]:
        pair = Duplicate(first="a", second="b", exact=exact, distance=0 if exact else 3, across_groups=True)
        return {p.kind: p.severity for p in duplicate_problems(cohort, [pair], {}, volumes)}

    both = frozenset({"a", "b"})
    assert found(exact=False, volumes=both) == {"near_leak": "warning"}
    assert found(exact=False, volumes=frozenset())["split_leak"] == "error"
    assert found(exact=True, volumes=both)["split_leak"] == "error"
