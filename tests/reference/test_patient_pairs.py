"""Patient pairs: the loss is typed out, partners are who they should be, and a case alone is refused by name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from allograft.core.errors import DataError
from allograft.core.stream_spec import Another
from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.partners import other_cases
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.data.transforms.augment import Augment
from allograft.objectives.patient_pairs import PatientPairs
from two_view_material import AT, built, taught, two_looks

TASK = Task(kind="binary", classes=("no", "yes"))
TINY = PatientPairs(hidden=16, output=8, temperature=0.3)


def _cohort(folder: Path = Path("x")) -> Cohort:
    """Return three slices of each of three patients in two modalities."""
    cases = [
        Case(
            id=f"{domain}{patient}{level}",
            image=(ImageRef(folder / f"{domain}.npy", row=3 * patient + level),),
            group=f"p{patient}",
            domain=domain,
            attributes={"slice": str(level)},
        )
        for domain in ("CT", "MR")
        for patient in range(3)
        for level in range(3)
    ]
    return Cohort("synthetic", TASK, tuple(cases))


def _ids(match=(), **how):
    cohort = _cohort()
    found = other_cases(cohort, cohort, match, Another(**how), where="x")
    return {name: [case.id for case in partners] for name, partners in found.items()}


def test_partners_are_those_that_are_asked_for_and_never_the_case_itself():
    assert _ids()["CT10"] == ["CT11", "CT12", "MR10", "MR11", "MR12"]
    assert _ids(domain="other")["CT10"] == ["MR10", "MR11", "MR12"]
    assert _ids(domain="same")["MR11"] == ["MR10", "MR12"]
    assert _ids(domain="same", near="slice")["CT10"] == ["CT11"]
    assert _ids(near="slice", within=2)["CT10"] == ["CT11", "CT12", "MR10", "MR11", "MR12"]
    assert _ids(("slice",), domain="other")["CT12"] == ["MR12"]


def test_neighbours_in_millimetres_are_not_lost_by_rounding():
    cohort = _cohort().where(lambda case: case.id in {"CT10", "CT11"})
    moved = [replace(case, attributes={"slice": mm}) for case, mm in zip(cohort.cases, ("0.3", "0.4"), strict=True)]
    near = replace(cohort, cases=tuple(moved))
    found = other_cases(near, near, (), Another(near="slice", within=0.1), where="x")
    assert [case.id for case in found["CT10"]] == ["CT11"]
    with pytest.raises(DataError, match=r"differs by at most 0\.09"):
        other_cases(near, near, (), Another(near="slice", within=0.09), where="x")


def test_a_case_without_a_partner_is_refused_by_name():
    cohort = _cohort().where(lambda case: case.domain == "CT" or case.group == "p0")
    with pytest.raises(DataError, match=r'6 of 12 cases have no partner.*another domain.*CT10, .*group "p1"'):
        other_cases(cohort, cohort, (), Another("other"), where="stream 'partner'")
    with pytest.raises(DataError, match=r'no attribute "visit"'):
        other_cases(cohort, cohort, (), Another(near="visit"), where="x")
    odd = replace(cohort, cases=tuple(replace(case, attributes={"slice": "top"}) for case in cohort.cases))
    with pytest.raises(DataError, match=r'"top" as its "slice", which is no number'):
        other_cases(odd, odd, (), Another(near="slice"), where="x")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("windows", [False, True])
def test_streams_hand_out_another_image_of_each_patient_with_draws_of_its_own(tmp_path, dims, windows):
    rng = np.random.default_rng(0)
    for domain in ("CT", "MR"):
        np.save(tmp_path / f"{domain}.npy", rng.integers(0, 200, (9, *[10] * dims)).astype(np.uint8))
    cohort = _cohort(tmp_path)
    store = Store.build(cohort, Preprocess(low=0, high=255), tmp_path / "stores")
    specs = PatientPairs(domain="other").streams()
    given = {"cohort": cohort, "store": store, "batch": 4, "labelled": False, "augment": Augment(preset="light")}
    given |= {"patches": Patches(size=(6,) * dims)} if windows else {}
    sources = {
        name: StreamSource(**given, like=spec.like, match=spec.match, another=spec.another)
        for name, spec in specs.items()
    }
    for step in range(3):
        found = StoreStreams(sources, seed=1).at(step)
        one, two = found["images"], found["partner"]
        assert one.groups == two.groups
        assert all(a[:2] != b[:2] for a, b in zip(one.ids, two.ids, strict=True))
        assert one.image.shape == two.image.shape
    plain = {name: replace(source, augment=Augment(), another=None, like="") for name, source in sources.items()}
    assert StoreStreams(plain, seed=1).at(0)["partner"].ids != found["partner"].ids, "the check can say no"


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_equals_a_loop_over_pairs(dims):
    nets, criterion = built(TINY, dims)
    batch = {"images": two_looks(6, dims), "partner": two_looks(6, dims, seed=1)}
    criterion.eval()
    nets["net"].eval()
    found = float(criterion(nets, batch, AT, "all").total.detach())
    z = torch.cat([criterion.projector(nets["net"](batch[name].image).pooled) for name in ("images", "partner")])
    z, total = F.normalize(z, dim=1), 0.0
    for i in range(12):
        p = (i + 6) % 12
        others = [k for k in range(12) if k == p or (i % 6) // 2 != (k % 6) // 2]
        below = sum(math.exp(float(z[i] @ z[k].detach()) / 0.3) for k in others)
        total -= math.log(math.exp(float(z[i] @ z[p]) / 0.3) / below) / 12
    assert found == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_pairs_come_together_where_modalities_differ_on_synthetic_images(dims):
    first = two_looks(8, dims)
    groups = tuple(f"p{i}" for i in range(8))
    ct, mr = (Batch(image=image, groups=groups) for image in (first.image, 1 - first.image**2))
    nets, criterion = built(TINY, dims)
    losses = taught(nets, criterion, {"images": ct, "partner": mr}, 40)
    assert losses[-1] < 0.7 * losses[0]
