from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.study.data_spec import under_names
from allograft.study.grid import Study, study_from
from allograft.study.provenance import (
    licence_lines,
    name_warnings,
    patient_warnings,
    require_licences,
    write_made_with,
)
from allograft.weights.card import WeightSource, read_card
from allograft.weights.known_data import overlap

TASK = Task(kind="binary", classes=("no", "yes"))


def cohort(name: str, cases: range, **more: Any) -> Cohort:
    made = (Case(id=f"c{i}", image=(ImageRef(Path("x.png")),), group=f"p{i // 2}") for i in cases)
    return Cohort(name, TASK, tuple(made), **more)


def study(*sources: str, **more: Any) -> Study:
    recipes = [{"name": f"r{i}", "start": "full", "source": s} for i, s in enumerate(sources)]
    fields = {
        "study": "s",
        "datasets": [{"name": "ward", "path": "x.csv"}],
        "baseline": "r0",
        "common": {"net": {"encoder": "cbr_tiny"}},
        "recipes": recipes,
    }
    return study_from({**fields, **more}, where="test")


def card_file(folder: Path, **more: Any) -> Path:
    fields = {"name": "w", "title": "w", "origin": "file:w.safetensors", "license": "CC-BY-NC-4.0", "commercial": False}
    folder.mkdir(parents=True, exist_ok=True)
    card = WeightSource.model_validate({**fields, "reference": {"title": "x"}, "encoder": "cbr_tiny", **more})
    (folder / "card.yaml").write_text(yaml.safe_dump(card.model_dump(mode="json")), encoding="utf-8")
    return folder / "card.yaml"


@pytest.mark.parametrize(
    ("name", "seen", "how"),
    [
        ("ILSVRC2012", "imagenet-1k", 2),
        ("NIH Chest X-ray", "ChestX-ray14", 2),
        ("CXR8", "nih-chestxray14", 2),
        ("LUNA16", "LIDC-IDRI", 1),
        ("Tiny ImageNet", "ImageNet-21k", 1),
        ("NoduleMNIST3D", "LIDC", 1),
        ("BraTS 2021", "BraTS", 1),
        ("iNat2021 mini", "iNat2021", 1),
        ("KiTS19", "LiTS", 0),
        ("CheXpert", "ChestX-ray14", 0),
        ("ImageNet-1k", "our own", 0),
        ("", "ImageNet-1k", 0),
    ],
)
def test_known_sets_overlap_whatever_they_are_called(name: str, seen: str, how: int) -> None:
    assert overlap(name, seen) == overlap(seen, name) == how


def test_the_names_that_data_have_of_themselves_warn_too_whatever_the_study_calls_them(tmp_path: Path) -> None:
    path = card_file(tmp_path, seen=["ImageNet-1k", "CheXpert"])
    named = under_names({"ward": cohort("ILSVRC-2012", range(4)), "help": cohort("CheXpert-small", range(4))}, {"help"})
    said = name_warnings(study(str(path)), named, tmp_path)
    assert len(said) == 2
    assert 'seen ImageNet-1k, which overlaps with cohort "ward"' in said[0]
    assert 'seen CheXpert, which overlaps with cohort "help"' in said[1]
    plain = under_names({"ward": cohort("images", range(4))}, set())
    assert plain["ward"].seen_as == ()
    assert name_warnings(study(str(path)), plain, tmp_path) == []


def test_patients_that_a_run_was_made_with_are_found_under_any_name_and_through_chains(tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "runs" / "a", tmp_path / "two" / "runs" / "b"
    card_file(first / "model", name="a")
    write_made_with(first, [cohort("ward", range(4))], None, "salt")
    (first / "model" / "model.safetensors").write_bytes(b"x")
    parent = read_card(first / "model" / "card.yaml").model_copy(update={"origin": f"run:{first / 'model'}"})
    card_file(second / "model", name="b")
    (second / "model" / "model.safetensors").write_bytes(b"y")
    write_made_with(second, [cohort("other", range(100, 104))], parent, "salt")
    assert not {"c0", "p0"} & set(json.loads((second / "made-with.json").read_text()))
    here = {"renamed": cohort("renamed", range(8))}
    asked = study(str(first), str(second), datasets=[{"name": "renamed", "path": "x"}])
    said = patient_warnings(asked, here, {"renamed": here["renamed"].ids}, salt="salt", base=tmp_path)
    assert len(said) == 2
    assert all("cases of 2 of the 4 patients" in text for text in said)
    free = patient_warnings(asked, here, {"renamed": ("c6", "c7")}, salt="salt", base=tmp_path)
    other_site = patient_warnings(asked, here, {"renamed": here["renamed"].ids}, salt="pepper", base=tmp_path)
    assert free == other_site == []


def test_licences_are_shown_and_both_ways_to_accept_one_are_named(tmp_path: Path) -> None:
    path = card_file(tmp_path)
    asked = study(str(path))
    assert licence_lines(asked, tmp_path) == [f"weights {path}: CC-BY-NC-4.0 (not for commercial use)"]
    with pytest.raises(ConfigError, match=r"--accept-licence w, or in the study file accept_licence: \[w\]"):
        require_licences(asked, tmp_path)
    require_licences(asked.accepting(["w"]), tmp_path)
    require_licences(study(str(path), accept_licence=["w"]), tmp_path)
    with pytest.raises(ConfigError):
        require_licences(asked.accepting(["other"]), tmp_path)
