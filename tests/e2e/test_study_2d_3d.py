"""A study from the command line, in 2-D on real pictures and in 3-D on synthetic volumes."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import sklearn.metrics as outside
import tiny_study as tiny
import torch

from allograft.catalog import STARTS, TUNINGS
from allograft.core.seeds import seed_for
from allograft.data.split import label_fraction
from allograft.metrics import metrics_for
from allograft.study.grid import read_study
from allograft.study.job import make_arm
from allograft.study.lab import RunLab
from allograft.study.outcome import RunKey
from allograft.study.prepared import Launch, Prepared, prepare

PAIR = {"a", "b", "difference", "ci", "test", "unit", "n_units", "p", "p_adjusted", "verdict"}
VERDICTS = {"better", "equivalent", "no detectable difference", "cannot tell"}
SEARCH = {"lrs": [1e-3, 1e-2], "share": 0.5}
RECIPES = [
    {"name": "scratch", "start": "scratch"},
    {"name": "gabor", "start": "gabor"},
    {"name": "frozen-random", "start": "scratch", "tuning": "frozen"},
]


class Ran(NamedTuple):
    """A finished study: its folder, what the command wrote, the number of folds."""

    dims: int
    file: Path
    out: Path
    said: dict[str, Any]
    folds: int


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


@pytest.fixture(scope="module", params=[2, 3], ids=["2d-real", "3d-synthetic"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    dims, folder = request.param, tmp_path_factory.mktemp("study")
    data = tiny.real_pictures(folder) if dims == 2 else tiny.synthetic_volumes(folder)
    file = tiny.study_file(data, RECIPES, search=SEARCH)
    said = tiny.run_json("study", file, "--out", folder / "out", "--workers", 1)
    return Ran(dims, file, folder / "out", said, 3 if dims == 2 else 1)


def outcomes(ran: Ran) -> dict[str, dict[str, Any]]:
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((ran.out / "runs").glob("*/outcome.json"))}


def test_results_have_a_row_per_run_case_and_metric(ran: Ran) -> None:
    rows = pd.read_parquet(ran.out / "results.parquet")
    assert [*rows] == [
        *("run", "recipe", "dataset", "fold", "seed", "label_fraction", "case", "unit", "metric", "value")
    ]
    assert len(outcomes(ran)) == len(RECIPES) * ran.folds == rows.run.nunique()
    assert set(rows.metric) == set(metrics_for("binary"))
    per_case = rows[rows.case != "*"]
    whole = rows[rows.case == "*"]
    assert set(per_case.metric) == {"accuracy", "brier", "log_loss"}
    for (_, metric), some in per_case.groupby(["recipe", "metric"]):
        assert some.case.is_unique, metric
        assert len(some) == (36 if ran.dims == 2 else 10)
    assert not whole.duplicated(["run", "metric"]).any()
    assert not rows.value.isna().any()


def test_compare_writes_what_the_issue_says(ran: Ran) -> None:
    found = tiny.run_json("compare", ran.out)
    assert {k: v for k, v in ran.said.items() if k not in {"report", "results"}} == found
    assert {r["name"] for r in found["recipes"]} == {r["name"] for r in RECIPES}
    for recipe in found["recipes"]:
        assert {"name", "mean", "ci"} <= set(recipe)
        assert recipe["ci"][0] <= recipe["mean"] <= recipe["ci"][1]
    means = [r["mean"] for r in found["recipes"]]
    assert means == sorted(means, reverse=True)
    assert len(found["pairs"]) == 3
    for pair in found["pairs"]:
        assert set(pair) >= PAIR
        assert pair["verdict"] in VERDICTS
        assert (pair["unit"], pair["n_units"]) == (("patient", 9) if ran.dims == 2 else ("image", 10))
        assert pair["p_adjusted"] is None or pair["p_adjusted"] >= pair["p"]
    assert found["runs"] == {"finished": 3 * ran.folds, "planned": 3 * ran.folds}
    assert Path(ran.said["report"]).stat().st_size > 10_000


def test_plan_writes_what_the_issue_says_and_trains_nothing(ran: Ran) -> None:
    before = sorted(p for p in ran.file.parent.rglob("*"))
    found = tiny.run_json("plan", ran.file)
    assert [p["recipe"] for p in found["plans"]] == [r["name"] for r in RECIPES]
    for plan in found["plans"]:
        assert {"recipe", "coverage", "problems"} <= set(plan)
        assert plan["problems"] == []
        assert sum(v for k, v in plan["coverage"].items() if k != "frozen") == pytest.approx(1)
    assert found["plans"][2]["coverage"]["frozen"] > 0.9
    assert sorted(p for p in ran.file.parent.rglob("*")) == before


def test_every_number_can_be_made_again_from_raw_predictions(ran: Ran) -> None:
    for name, outcome in outcomes(ran).items():
        raw = pd.read_parquet(ran.out / "runs" / name / "predictions-test.parquet")
        truth, yes = raw.t0, raw.p1
        assert yes.to_numpy() == pytest.approx(torch.sigmoid(torch.tensor(raw.z0)).numpy(), abs=1e-6)
        expected = {
            "auroc": outside.roc_auc_score(truth, yes),
            "auprc": outside.average_precision_score(truth, yes),
            "balanced_accuracy": outside.balanced_accuracy_score(truth, yes > 0.5),
            "accuracy": outside.accuracy_score(truth, yes > 0.5),
            "f1": outside.f1_score(truth, yes > 0.5, average="macro", zero_division=0),
            "log_loss": outside.log_loss(truth, yes),
        }
        assert {k: outcome["scores"][k] for k in expected} == pytest.approx(expected, abs=1e-6)
        kept = pd.read_parquet(ran.out / "results.parquet").query("run == @name")
        means = kept.groupby("metric").value.mean()
        assert {k: means[k] for k in expected} == pytest.approx(expected, abs=1e-6)


def test_the_ranking_is_the_mean_over_folds_of_the_raw_predictions(ran: Ran) -> None:
    found = {r["name"]: r["mean"] for r in ran.said["recipes"]}
    for recipe, mean in found.items():
        values, weights = [], []
        for name, outcome in outcomes(ran).items():
            if outcome["key"]["recipe"] == recipe:
                raw = pd.read_parquet(ran.out / "runs" / name / "predictions-test.parquet")
                values.append(outside.roc_auc_score(raw.t0, raw.p1))
                weights.append(len(raw))
        expected = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
        assert mean == pytest.approx(expected)


def test_no_patient_and_no_file_is_named_outside_the_private_folder(ran: Ran) -> None:
    ids = json.loads((ran.out / "private" / "ids.json").read_text())
    (table,) = ids.values()
    real, fake = set(table.values()), set(table)
    rows = pd.read_parquet(ran.out / "results.parquet")
    assert set(rows.case) - {"*"} <= fake
    assert set(rows.unit) - {"*"} <= fake
    if ran.dims == 2:
        assert {tiny.patient(0), f"png/{tiny.patient(0)}-grass-0.png"} <= real
    assert stat.S_IMODE((ran.out / "private" / "ids.json").stat().st_mode) == 0o600
    secret = [tiny.patient(i) for i in range(tiny.PATIENTS)] if ran.dims == 2 else sorted(real)
    for path in sorted(ran.out.rglob("*")):
        inside = path.relative_to(ran.out).parts
        assert not any(name in str(path.relative_to(ran.out)) for name in secret)
        if path.is_file() and inside[0] not in {"private", "cache"}:
            shown = path.read_bytes().decode("latin-1")
            shown += pd.read_parquet(path).to_csv() if path.suffix == ".parquet" else ""
            assert not [name for name in secret if name in shown], path


def test_run_again_does_nothing_and_changes_nothing(ran: Ran) -> None:
    before = (ran.out / "results.parquet").read_bytes()
    stamps = {p: p.stat().st_mtime_ns for p in (ran.out / "runs").rglob("*")}
    assert tiny.run("study", ran.file, "--out", ran.out, "--workers", 1).exit_code == 0
    assert (ran.out / "results.parquet").read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (ran.out / "runs").rglob("*")} == stamps


def test_another_study_never_writes_into_the_folder(ran: Ran) -> None:
    text = ran.file.read_text().replace("study: tiny", "study: other")
    other = ran.file.with_name("other.yaml")
    other.write_text(text)
    before = {p: p.stat().st_mtime_ns for p in ran.out.rglob("*")}
    result = tiny.run("study", other, "--out", ran.out, "--workers", 1)
    other.unlink()
    assert "belongs to another study" in str(result.exception)
    assert {p: p.stat().st_mtime_ns for p in ran.out.rglob("*")} == before


def test_a_finished_run_is_a_source_for_the_next_study(ran: Ran) -> None:
    first = next(name for name, o in outcomes(ran).items() if o["key"]["recipe"] == "scratch")
    start = {"start": "full", "source": f"out/runs/{first}"}
    recipes = [{"name": "scratch", "start": "scratch"}, {"name": "own", **start}]
    file = tiny.study_file(ran.file.parent / tiny_data(ran), recipes, name="again.yaml", test_folds=1)
    (own,) = [p for p in tiny.run_json("plan", file)["plans"] if p["recipe"] == "own"]
    assert own["coverage"]["copied"] > 0.9
    found = tiny.run_json("study", file, "--out", ran.file.parent / "out-again", "--workers", 1)
    assert found["runs"]["finished"] == 2
    file.unlink()


def tiny_data(ran: Ran) -> str:
    return "pictures.csv" if ran.dims == 2 else "synthetic_balls.npz"


@pytest.mark.parametrize("dims", [2, 3], ids=["2d-real", "3d-synthetic"])
def test_every_start_and_every_tuning_runs(dims: int, tmp_path: Path) -> None:
    data = tiny.real_pictures(tmp_path) if dims == 2 else tiny.synthetic_volumes(tmp_path)
    recipes = tiny.every_start_and_tuning(tiny.random_card(tmp_path / "card", dims))
    file = tiny.study_file(data, recipes, test_folds=1)
    plans = tiny.run_json("plan", file)["plans"]
    found = tiny.run_json("study", file, "--out", tmp_path / "out", "--workers", 1)
    assert found["failures"] == []
    assert found["runs"]["finished"] == len(recipes) == len(found["recipes"])
    facts = json.loads((tmp_path / "out" / "study.json").read_text())["recipes"]
    for kind, catalog in (("start", STARTS), ("tuning", TUNINGS)):
        assert {said[kind].partition("(")[0] for said in facts.values()} == set(catalog)
    done = {o["key"]["recipe"]: o for o in map(json.loads, _texts(tmp_path / "out"))}
    for plan in plans:  # what was promised is what was done
        assert done[plan["recipe"]]["coverage"] == pytest.approx(plan["coverage"])
    (card,) = json.loads((tmp_path / "out" / "study.json").read_text())["weight_cards"]
    assert card["proof"] == "fingerprint"


def _texts(out: Path) -> list[str]:
    return [path.read_text() for path in sorted((out / "runs").glob("*/outcome.json"))]


@pytest.mark.parametrize("dims", [2, 3], ids=["2d-real", "3d-synthetic"])
def test_recipes_are_paired_by_head_order_and_nested_labels(dims: int, tmp_path: Path) -> None:
    data = tiny.real_pictures(tmp_path) if dims == 2 else tiny.synthetic_volumes(tmp_path)
    donor = {"start": "full", "source": str(tiny.random_card(tmp_path / "card", dims))}
    recipes = [{"name": "scratch", "start": "scratch"}, {"name": "full", **donor}]
    file = tiny.study_file(data, recipes, label_fractions=[0.3, 0.6, 1.0], test_folds=1)
    prepared = prepare(read_study(file), tmp_path / "out", launch=Launch(base=tmp_path))
    labs = {k: _lab(k, prepared, tmp_path / "lab") for k in prepared.runs()}
    by_pair: dict[Any, dict[str, RunLab]] = {}
    for key, lab in labs.items():
        by_pair.setdefault(key.pair, {})[key.recipe] = lab
    assert len(by_pair) == 3
    for pair in by_pair.values():
        a, b = pair["scratch"], pair["full"]
        assert a.seed("stage", "finetune") == b.seed("stage", "finetune")
        started = {name: lab.start() for name, lab in pair.items()}
        one, two = (started[name].net.state_dict() for name in ("scratch", "full"))
        same = {key for key in one if torch.equal(one[key], two[key])}
        assert {key for key in one if key.startswith("heads.")} <= same
        assert "encoder.unit1.conv.weight" not in same
        orders = [_order(lab, started[name]) for name, lab in pair.items()]
        assert orders[0] == orders[1]
        assert len(set(orders[0])) > 1
    trains = {fraction: set(pair["full"].cohorts["train"].ids) for (*_, fraction), pair in by_pair.items()}
    assert trains[0.3] < trains[0.6] < trains[1.0]


def _lab(key: RunKey, prepared: Prepared, where: Path) -> RunLab:
    cohort, fold = prepared.cohorts[key.dataset], prepared.folds[key.dataset][key.fold]
    seed = seed_for("fraction", key.dataset, key.fold, key.seed)
    train = cohort.subset(label_fraction(fold.train, cohort, key.label_fraction, seed))
    cohorts = {"train": train, "val": cohort.subset(fold.val)}
    return RunLab(key=key, arm=make_arm(prepared, key, train), cohorts=cohorts, where=where)


def _order(lab: RunLab, started: Any) -> list[tuple[str, ...]]:
    data = lab.arm.data(lab.objective, lab.cohorts, started.net, started.plan, seed=lab.seed("order"))
    return [data.streams.at(step)["train"].ids for step in range(4)]


PLUGIN = """
from pathlib import Path
from typing import ClassVar
from allograft.contracts import HOUSE, Method
from allograft.core.reference import Reference

class Raises(Method):
    name: ClassVar[str] = "raises"
    paper: ClassVar[Reference] = HOUSE
    def run(self, lab):
        if Path(__file__).with_name("mended").exists():
            return lab.train("finetune", lab.start())
        first = lab.cohorts["train"].ids[0]
        raise RuntimeError(f"on purpose, at {first}")
"""


def test_a_failing_recipe_is_a_row_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plugin_of_tests.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    recipes = [*RECIPES[:2], {"name": "broken", "start": "scratch", "procedure": "my_plugin_of_tests:Raises"}]
    file = tiny.study_file(tiny.real_pictures(tmp_path), recipes, test_folds=1)
    refused = tiny.run("study", file, "--out", tmp_path / "out", "--workers", 1)
    assert "recipes[2].procedure" in str(refused.exception)
    assert "--plugin my_plugin_of_tests" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    asked = ("study", file, "--out", tmp_path / "out", "--workers", 1, "--plugin", "my_plugin_of_tests")
    found = tiny.run_json(*asked, code=1)
    (failure,) = found["failures"]
    assert failure["key"]["recipe"] == "broken"
    assert failure["error"] == "RuntimeError"
    assert failure["message"].startswith("on purpose, at ")
    assert "Mustermann" not in json.dumps(failure)
    assert {r["name"] for r in found["recipes"]} == {"scratch", "gabor"}
    for path in (tmp_path / "out" / "report.html", *(tmp_path / "out" / "failed").iterdir()):
        assert "Mustermann" not in path.read_text()
    (tmp_path / "mended").touch()
    again = tiny.run_json(*asked)
    assert again["failures"] == []
    assert not list((tmp_path / "out" / "failed").iterdir())
