"""Bad input stops before training, with an error that names file, field or case. Real pictures."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from allograft.catalog import encoder_factory
from allograft.cli import app
from allograft.core.errors import ConfigError, DataError, PlanError, ResumeError
from picture_study import write_patches, write_study


@pytest.fixture(scope="module")
def pics(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("bad") / "pics", count=6)


@pytest.fixture(autouse=True)
def never_trains(monkeypatch, tmp_path):
    """Whatever reaches a training step fails the test."""

    def refuse(*_, **__):
        pytest.fail("training began")

    monkeypatch.setattr("allograft.study.stage.fit", refuse)
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))


@pytest.fixture
def data(pics, tmp_path):
    return shutil.copytree(pics, tmp_path / "pics")


def study(tmp_path, error, *words, **changes):
    """Run `allograft study` in tmp_path; expect the error with all words, and nothing trained."""
    file = changes.pop("file", None) or write_study(tmp_path, **changes)
    with pytest.raises(error) as caught:
        CliRunner().invoke(
            app, ["study", str(file), "--out", str(tmp_path / "out"), "--workers", "1"], catch_exceptions=False
        )
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert not list((tmp_path / "out").glob("runs/*"))
    assert not list((tmp_path / "out").glob("work/*"))


def table(data, change=lambda rows: rows, header="image,label,patient_id,split"):
    """Write a table of all patches, a patient each, and return a study's data entry."""
    rows = [[f"{p.parent.name}/{p.name}", p.parent.name, p.stem[:4], ""] for p in sorted(data.rglob("*.png"))]
    lines = [",".join(row[: header.count(",") + 1]) for row in change(rows)]
    (data / "cases.csv").write_text("\n".join([header, *lines]) + "\n")
    return {"name": "pics", "path": "pics/cases.csv"}


def checkpoint(tmp_path, rename=lambda name: name, keep=lambda name: True):
    """Write weights of the recipe's own encoder with some tensors renamed or left out, and their card."""
    torch.manual_seed(0)
    net = encoder_factory("cbr_tiny")(dims=2, in_channels=3, width=0.25, drop_path=0.0)
    tensors = {rename(k): v for k, v in net.state_dict().items() if keep(k)}
    save_file(tensors, tmp_path / "weights.safetensors")
    card = {
        "name": "mine",
        "title": "synthetic weights of a test",
        "origin": f"file:{tmp_path / 'weights.safetensors'}",
        "license": "none",
        "commercial": True,
        "reference": {"title": "none"},
        "encoder": "cbr_tiny",
        "key_map": [["(.+)", r"\1"]],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    return [
        {"name": "small", "start": "scratch"},
        {"name": "mine", "start": "full", "source": str(tmp_path / "mine.yaml")},
    ]


def test_a_checkpoint_that_maps_to_too_few_tensors(data, tmp_path):
    first = []

    def keep(name):
        first.append(name)
        return len(first) <= 2

    study(tmp_path, PlanError, "mine", "pics", recipes=checkpoint(tmp_path, keep=keep))


def test_a_wrong_prefix_is_refused_and_the_right_line_of_the_key_map_named(data, tmp_path):
    recipes = checkpoint(tmp_path, rename=lambda name: f"module.backbone.{name}")
    study(tmp_path, PlanError, "mine", "module", "backbone", recipes=recipes)


def test_the_same_checkpoint_under_its_right_names_is_taken(data, tmp_path):
    """The two refusals above are about the names, not about the file."""
    file = write_study(tmp_path, recipes=checkpoint(tmp_path))
    done = CliRunner().invoke(app, ["plan", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_missing_column_is_named_with_those_that_there_are(data, tmp_path):
    entry = table(data) | {"label": "diagnosis"}
    study(tmp_path, ConfigError, "cases.csv", '"diagnosis"', "label", datasets=[entry])


def test_a_missing_image_is_named_with_its_line(data, tmp_path):
    sorted((data / "ihc").glob("*"))[0].unlink()
    entry = table(data, lambda rows: [["ihc/gone.png", "ihc", "P77i", ""], *rows])
    study(tmp_path, DataError, "cases.csv, line 2", "gone.png", datasets=[entry])


@pytest.mark.parametrize(
    ("content", "word"), [(lambda b: b[:200], "damaged"), (lambda b: b"", "empty"), (lambda b: b"x" * 99, "damaged")]
)
def test_an_unreadable_image_is_named(data, tmp_path, content, word):
    bad = sorted((data / "retina").glob("*"))[2]
    bad.write_bytes(content(bad.read_bytes()))
    study(tmp_path, DataError, bad.name, word)


def test_a_class_with_one_case_is_named(data, tmp_path):
    (data / "third").mkdir()
    one = sorted((data / "ihc").glob("*"))[0]
    one.rename(data / "third" / one.name)
    study(tmp_path, DataError, "third", "1 case")


def test_a_patient_in_two_fixed_splits_is_named(data, tmp_path):
    def split(rows):
        parts = ("train", "train", "train", "val", "test", "test") * 2
        rows = [[*row[:3], part] for row, part in zip(rows, parts, strict=True)]
        rows[0][2] = rows[5][2] = "PATIENT-9"
        return rows

    entry = table(data, split)
    study(tmp_path, DataError, "fixed splits", "P00i_ihc.png", datasets=[entry], folds=0)


def test_an_unknown_field_is_named_with_the_nearest_known_one(data, tmp_path):
    study(tmp_path, ConfigError, "study.yaml", "seedz", '"seeds"', seedz=[1])
    recipes = [{"name": "small", "start": "scratch"}, {"name": "b", "start": "scratch", "tuning": "frozn"}]
    study(tmp_path, ConfigError, "recipes[1].tuning", '"frozn"', '"frozen"', recipes=recipes)


def test_a_study_file_that_is_not_yaml_or_not_there(tmp_path):
    (tmp_path / "study.yaml").write_text("recipes: [")
    study(tmp_path, ConfigError, "study.yaml", "not valid YAML", file=tmp_path / "study.yaml")
    study(tmp_path, ConfigError, "absent.yaml", "cannot be read", file=tmp_path / "absent.yaml")


def test_the_folder_of_another_study_is_left_as_it_is(data, tmp_path):
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    (out / "study.json").write_text('{"study": "another", "datasets": [], "device": {}}')
    (out / "results.parquet").write_bytes(b"precious")
    study(tmp_path, ResumeError, str(out), "another study", "study")
    assert (out / "results.parquet").read_bytes() == b"precious"
    assert "another" in (out / "study.json").read_text()


def test_a_folder_with_other_files_is_left_as_it_is(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    study(tmp_path, ResumeError, "not empty", "--out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_sound_data_would_have_trained(data, tmp_path):
    """The guard can say no: the same study on sound data reaches the training step."""
    file, out = str(write_study(tmp_path)), str(tmp_path / "out")
    with pytest.raises(pytest.fail.Exception, match="training began"):
        CliRunner().invoke(app, ["study", file, "--out", out, "--workers", "1"], catch_exceptions=False)
