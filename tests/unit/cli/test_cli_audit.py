"""allograft audit on real pictures: counts, and every problem with its file."""

from __future__ import annotations

import shutil

import pytest

from picture_study import write_patches, write_study


@pytest.fixture(scope="module")
def pics(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("audit") / "pics", count=6)


def test_sound_data_pass_and_are_counted(run, pics):
    said = run("audit", pics, "--group-pattern", "^(P[0-9]+.)_", "--json")
    assert said["ok"] is True
    assert (said["cases"], said["groups"], said["unit"]) == (12, 12, "patient")
    assert said["sizes"] == {"32x32": 12}
    assert {c["name"]: c["cases"] for c in said["classes"]} == {"ihc": 6, "retina": 6}
    text = run("audit", pics)
    assert "a study on these data would be right" in text
    assert "32x32: 12" in text


def test_each_problem_names_its_file_and_the_exit_code_says_no(run, pics, tmp_path):
    data = shutil.copytree(pics, tmp_path / "pics")
    cut, twin = sorted((data / "ihc").glob("*"))[0], sorted((data / "retina").glob("*"))[0]
    cut.write_bytes(cut.read_bytes()[:150])
    shutil.copy(twin, data / "retina" / "P99r_copy.png")
    said = run("audit", data, "--group-pattern", "^(P[0-9]+.)_", "--json", code=1)
    kinds = {problem["kind"]: problem for problem in said["problems"]}
    assert str(cut) in kinds["unreadable"]["details"][0]
    assert kinds["leak"]["count"] == 1
    assert said["files"]["retina/P99r_copy.png"] == str(data / "retina" / "P99r_copy.png")
    text = run("audit", data, code=1)
    assert str(cut) in text
    assert "a study would be wrong" in text


def test_a_file_is_named_where_the_table_names_cases_otherwise(run, pics, tmp_path):
    files = sorted(pics.rglob("*.png"))
    rows = [f"case-{k},{f},{f.parent.name},p{k}" for k, f in enumerate(files)]
    rows.append(f"case-99,{tmp_path / 'absent.png'},ihc,p99")
    (tmp_path / "t.csv").write_text("case_id,image,label,patient_id\n" + "\n".join(rows) + "\n")
    said = run("audit", tmp_path / "t.csv", "--json", code=1)
    assert said["files"]["case-99"] == str(tmp_path / "absent.png")


def test_ids_and_files_can_be_hidden(run, pics, tmp_path):
    data = shutil.copytree(pics, tmp_path / "pics")
    cut = sorted((data / "ihc").glob("*"))[0]
    cut.write_bytes(cut.read_bytes()[:150])
    said = run("audit", data, "--hide-ids", "--json", code=1)
    assert cut.name not in str(said)
    assert str(data) not in str(said)
    assert said["files"] == {}


def test_a_wrong_column_is_a_problem_not_a_crash(run, pics, tmp_path):
    (tmp_path / "t.csv").write_text(f"image,label\n{next(pics.rglob('*.png'))},a\n")
    said = run("audit", tmp_path / "t.csv", "--label", "diagnosis", "--json", code=1)
    assert '"diagnosis"' in said["problems"][0]["details"][0]


def test_a_study_file_has_each_of_its_data_sets_audited(run, pics):
    file = write_study(pics.parent)
    said = run("audit", file, "--json")
    assert said["ok"] is True
    assert [one["name"] for one in said["audits"]] == ["pics"]
    assert said["audits"][0]["groups"] == 12
