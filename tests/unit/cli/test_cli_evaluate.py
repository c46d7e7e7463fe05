"""allograft evaluate on real pictures: intervals, subgroups, the threshold from validation, doubled images."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from allograft.core.errors import ConfigError, DataError
from allograft.stats.intervals import wilson_interval
from allograft.study.winner import choose
from picture_study import write_patches


@pytest.fixture(scope="module")
def external(tmp_path_factory):
    base = write_patches(tmp_path_factory.mktemp("external"), count=6, first=60)
    files = sorted(base.rglob("*.png"))
    lines = [f"{f.relative_to(base)},{f.parent.name},{'AB'[i % 2]},{20 + i}" for i, f in enumerate(files)]
    (base / "cases.csv").write_text("image,label,site,age\n" + "\n".join(lines) + "\n")
    return base


@pytest.fixture(scope="module")
def found(external, study_folder, tmp_path_factory):
    from typer.testing import CliRunner

    from allograft.cli import app

    out = tmp_path_factory.mktemp("out") / "external.json"
    arguments = ["evaluate", study_folder, external / "cases.csv", "--by", "site", "--by", "age", "--out", out]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def truth(external, study_folder, tmp_path_factory):
    """The same probabilities through `allograft predict`, with the labels."""
    from typer.testing import CliRunner

    from allograft.cli import app

    out = tmp_path_factory.mktemp("predicted")
    CliRunner().invoke(app, ["predict", str(study_folder), str(external / "cases.csv"), "--out", str(out)])
    table = pd.read_csv(out / "predictions.csv")
    return table.assign(y=[int("retina" in name) for name in table["file"]])


def test_metrics_are_those_of_scikit_learn_on_the_predictions(found, truth):
    values = {m["metric"]: m for m in found["whole"]["metrics"]}
    assert values["auroc"]["value"] == pytest.approx(roc_auc_score(truth.y, truth.p_retina))
    assert values["brier"]["value"] == pytest.approx(brier_score_loss(truth.y, truth.p_retina), abs=1e-6)
    assert found["whole"]["cases"] == found["whole"]["units"] == 12
    assert values["brier"]["low"] < values["brier"]["value"] < values["brier"]["high"]


def test_the_threshold_comes_from_validation_and_its_rates_carry_wilson_intervals(found, truth, study_folder):
    (point,) = found["operating"]
    parts = [study_folder / "runs" / run / "predictions-val.parquet" for run in choose(study_folder).runs]
    assert point["validation_cases"] == sum(len(pd.read_parquet(path)) for path in parts) == 16
    called, y = truth.p_retina.to_numpy() >= point["threshold"] - 1e-6, truth.y.to_numpy() == 1
    rates = {rate["name"]: rate for rate in point["rates"]}
    assert rates["sensitivity"]["value"] == pytest.approx((called & y).sum() / y.sum())
    assert rates["specificity"]["value"] == pytest.approx((~called & ~y).sum() / (~y).sum())
    expected = wilson_interval(int((called & y).sum()), int(y.sum()))
    assert (rates["sensitivity"]["low"], rates["sensitivity"]["high"]) == pytest.approx(expected[:2])
    assert rates["sensitivity"]["method"] == "Wilson"


def test_subgroups_divide_the_cases_and_few_units_get_no_interval(found):
    site = [s for s in found["subsets"] if s["column"] == "site"]
    age = [s for s in found["subsets"] if s["column"] == "age"]
    assert {s["value"]: s["cases"] for s in site} == {"A": 6, "B": 6}
    assert sum(s["cases"] for s in age) == 12
    assert all(s["note"].startswith("cannot tell") for s in age)
    assert all(m["low"] is None for s in age for m in s["metrics"])
    assert all(s["note"] == "" for s in site)


def test_calibration_bins_hold_every_case(found, truth):
    (one,) = found["calibration"]
    assert one["label"] == "retina"
    assert sum(b["cases"] for b in one["bins"]) == len(truth)
    said = sum(b["cases"] * (b["confidence"] or 0) for b in one["bins"]) / len(truth)
    assert said == pytest.approx(truth.p_retina.mean(), abs=1e-6)


def test_images_of_the_study_are_found_under_any_name_and_format(run, external, study_folder, tmp_path):
    from PIL import Image

    copied = shutil.copytree(external, tmp_path / "data")
    original = next((study_folder.parent / "pics" / "retina").glob("*.png"))
    Image.open(original).save(copied / "retina" / "other.bmp")
    (copied / "cases.csv").unlink()
    said = run("evaluate", study_folder, copied, "--json")
    assert said["duplicates"] == ["retina/other.bmp"]
    assert any("not external" in text for text in said["warnings"])
    hidden = run("evaluate", study_folder, copied, "--json", "--hide-ids")
    assert "other.bmp" not in str(hidden)


def test_a_unit_with_several_cases_is_one_unit(run, external, study_folder, tmp_path):
    table = (external / "cases.csv").read_text().splitlines()
    rows = [f"{table[0]},patient_id", *(f"{line},p{(i - 1) // 2}" for i, line in enumerate(table) if i)]
    (external / "paired.csv").write_text("\n".join(rows) + "\n")
    said = run("evaluate", study_folder, external / "paired.csv", "--json")
    assert said["whole"]["units"] == 6
    assert {rate["method"] for rate in said["operating"][0]["rates"]} == {"jackknife t"}


def test_the_wanted_sensitivity_is_reached_on_validation(run, external, study_folder):
    said = run("evaluate", study_folder, external / "cases.csv", "--sensitivity", "0.9", "--json")
    assert said["operating"][0]["rule"] == "sensitivity"
    assert said["operating"][0]["on_validation"]["sensitivity"] >= 0.9


def test_an_unreadable_image_is_reported_and_the_rest_judged(run, external, study_folder, tmp_path):
    copied = shutil.copytree(external, tmp_path / "data")
    bad = next((copied / "ihc").glob("*.png"))
    bad.write_bytes(bad.read_bytes()[:120])
    said = run("evaluate", study_folder, copied / "cases.csv", "--json", code=1)
    assert said["whole"]["cases"] == 11
    assert bad.name in said["failed"][0]


def test_other_classes_and_unknown_columns_are_refused_by_name(run, external, study_folder, tmp_path):
    text = (external / "cases.csv").read_text().replace(",retina,", ",fundus,")
    (external / "renamed.csv").write_text(text)
    with pytest.raises(DataError, match="fundus"):
        run("evaluate", study_folder, external / "renamed.csv")
    with pytest.raises(ConfigError, match='"scaner"'):
        run("evaluate", study_folder, external / "cases.csv", "--by", "scaner")


def test_where_groups_are_scored_each_group_is_one_answer(run, external, study_folder, truth, tmp_path):
    copied = shutil.copytree(study_folder, tmp_path / "out")
    for path in copied.glob("runs/*/model/bundle.json"):
        bundle = json.loads(path.read_text())
        bundle["task"]["score_by"] = "group"
        path.write_text(json.dumps(bundle))
    table = (external / "cases.csv").read_text().splitlines()
    rows = [f"{table[0]},patient_id", *(f"{line},p{(i - 1) // 2}" for i, line in enumerate(table) if i)]
    (external / "groups.csv").write_text("\n".join(rows) + "\n")
    said = run("evaluate", copied, external / "groups.csv", "--json")
    assert (said["whole"]["cases"], said["whole"]["units"]) == (6, 6)
    pairs = truth.groupby(truth.index // 2)[["p_retina", "y"]].mean()
    values = {m["metric"]: m["value"] for m in said["whole"]["metrics"]}
    assert values["brier"] == pytest.approx(brier_score_loss(pairs.y, pairs.p_retina), abs=1e-6)
    assert said["whole"]["classes"] == {"ihc": 3, "retina": 3}
