"""allograft init: a study that suits the data, reads back as it is, and runs."""

from __future__ import annotations

import numpy as np
import pydicom
import pydicom.data
import pytest
import yaml
from typer.testing import CliRunner

from allograft.cli import app
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.sniff import open_data
from allograft.nets.spec import NetSpec
from allograft.study.estimate import Load, Speed, estimate, measure
from allograft.study.grid import study_from
from allograft.study.planning import plan_study
from allograft.study.propose import propose
from allograft.study.survey import survey
from picture_study import write_patches


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    monkeypatch.setattr("allograft.study.estimate.measure", lambda *_, **__: Speed(step=0.1, case=0.01))


def proposal_for(path, **spec):
    return propose(survey(open_data(path, check_files=False, **spec)), {"name": "d", "path": str(path)})


@pytest.fixture(scope="module")
def pics(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("init") / "pics", count=8)


def test_the_file_reads_back_and_every_plan_is_sound(run, pics, tmp_path):
    file = pics.parent / "study.yaml"
    said = run("init", pics, "--out", file, "--group-pattern", "^(P[0-9]+.)_", "--json")
    data = yaml.safe_load(file.read_text())
    assert data == said["study"]
    assert data["datasets"] == [{"name": "pics", "path": "pics", "group_pattern": "^(P[0-9]+.)_"}]
    assert data["preprocess"] == {"size": [32, 32], "intensity": "unit", "low": 0.0, "high": 255.0}
    assert data["folds"] == 5
    study = study_from(data, where="t")
    assert {r.start.name for r in study.recipes} >= {"scratch", "full", "mean_var", "partial"}
    assert {r.tuning.name for r in study.recipes} >= {"frozen", "lp_ft", "l2_sp"}
    assert not any(
        p.plan.problems for p in plan_study(study.model_copy(update={"recipes": study.recipes[:2]}), base=file.parent)
    )
    assert "# " in file.read_text()
    assert "minutes" in file.read_text() or "hours" in file.read_text()


def test_standard_output_is_the_study_alone_and_notes_go_to_standard_error(pics):
    done = CliRunner().invoke(app, ["init", str(pics)], catch_exceptions=False)
    assert yaml.safe_load(done.stdout)["datasets"][0]["path"] == str(pics.resolve())
    assert "note:" in done.stderr
    assert "note:" not in done.stdout


def test_an_existing_file_is_kept(run, pics, tmp_path):
    (tmp_path / "s.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        run("init", pics, "--out", tmp_path / "s.yaml")
    assert (tmp_path / "s.yaml").read_text() == "mine"


def test_synthetic_volumes_get_three_dimensions_and_the_datas_own_split(run, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(n)[:, None] % 2
    np.savez(tmp_path / "synthetic3d.npz", **arrays)
    said = run("init", tmp_path / "synthetic3d.npz", "--json")
    assert said["study"]["folds"] == 0
    assert said["study"]["preprocess"]["size"] == [32, 32, 32]
    assert said["study"]["common"]["net"] == {"encoder": "resnet10_small", "dims": 3}
    study = study_from(said["study"], where="t")
    plans = plan_study(study, base=tmp_path)
    assert [p.recipe for p in plans] == ["scratch", "scratch-small", "gabor", "frozen-random"]
    assert not any(p.plan.problems for p in plans)


def test_real_ct_gets_a_window_in_hounsfield_units(tmp_path):
    source = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(4):
            source.PatientID = f"{name}{k}"
            source.PixelData = (source.pixel_array + k).astype(source.pixel_array.dtype).tobytes()
            source.save_as(tmp_path / name / f"{k}.dcm")
    found = proposal_for(tmp_path)
    assert found.study["preprocess"]["intensity"] == "window"
    assert found.study["preprocess"]["size"] == [128, 128]
    assert found.study["folds"] == 3
    assert any("CT" in note for note in found.notes)


def test_a_class_with_too_few_patients_is_refused_by_name(tmp_path):
    write_patches(tmp_path, count=2)
    with pytest.raises(DataError, match="class 'ihc' has 2 group"):
        proposal_for(tmp_path)


def test_large_pictures_are_shrunk_in_proportion_to_a_multiple_of_32(tmp_path):
    rng = np.random.default_rng(0)
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(5):
            Image.fromarray(rng.integers(0, 255, (300, 600), dtype=np.uint8)).save(tmp_path / name / f"{k}.png")
    assert proposal_for(tmp_path).study["preprocess"]["size"] == [128, 224]


def test_the_estimate_is_the_sum_of_its_parts(pics):
    study = study_from(proposal_for(pics).study, where="t")
    task = Task(kind="binary", classes=("ihc", "retina"))
    load = Load(judged=6, cases=16, folds=5, shape=(3, 32, 32))
    steps, evals = study.recipes[0].budget.steps, study.recipes[0].budget.evals
    speed = lambda *_: Speed(step=0.2, case=0.01)  # noqa: E731
    one, two = (estimate(study, task, load, workers=n, speed=speed) for n in (1, 2))
    assert one.runs == 9 * 5 * 3
    assert one.per_run["scratch"] == pytest.approx(1.5 + 0.2 * steps + 0.01 * 6 * (2 * evals + 1), abs=0.06)
    assert one.per_run["linear-probe"] < one.per_run["scratch"] / 5
    assert one.seconds - 4 == pytest.approx(2 * (two.seconds - 4))


def test_a_measured_step_costs_more_than_looking(tmp_path):
    speed = measure(NetSpec(encoder="cbr_tiny", width=0.25), Task(kind="binary", classes=("a", "b")), (1, 32, 32), 8)
    assert speed.step > 8 * speed.case > 0


def test_the_proposed_study_runs_as_it_is_when_made_short(run, pics):
    """The same file with two recipes and four steps, so that the test is quick."""
    from allograft.study.conduct import conduct
    from allograft.study.prepared import Launch

    data = proposal_for(pics).study
    data |= {"folds": 3, "seeds": [0], "search": {"lrs": []}}
    data["common"]["budget"] |= {"steps": 4, "evals": 1}
    data["common"]["net"] = {"encoder": "cbr_tiny", "width": 0.25}
    data["recipes"] = [r for r in data["recipes"] if r["name"] in {"scratch", "frozen-random"}]
    study = study_from(data, where="t")
    summary = conduct(study, pics.parent / "results", launch=Launch(base=pics.parent, workers=1))
    assert not summary.failures
    assert len(summary.runs) == summary.planned == 6
