"""RunStore: a folder per run, finished by one rename; opens without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from allograft.core.atomic import folder_aside, write_bytes, write_text
from allograft.core.config import canonical_json
from allograft.core.errors import ResumeError
from allograft.study.outcome import Done, Failed, Waiting, read_outcome

__all__ = ["RunStore"]

IDENTITY = ("study", "datasets")
RUN_COLUMNS = ("run", "recipe", "dataset", "fold", "seed", "label_fraction")


class RunStore:
    """The folder of one study.

    Layout: `study.json` (expanded, resolved), `runs/<id>/` (finished runs), `work/<id>/`
    (checkpoints of unfinished ones), `failed/<id>.json`, `cache/`, `private/ids.json`,
    `results.parquet`, `report.html`.

    Args:
        folder: the study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, study: Mapping[str, Any]) -> None:
        """Make the folder this study's, or check that it already is.

        The study's name and its data sets are its identity. Recipes, seeds, fractions and settings
        may grow or change: runs are named by their content, so nothing finished is lost or reused wrongly.

        Raises:
            ResumeError: the folder holds another study or other files.
        """
        path = self.folder / "study.json"
        if path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            if any(canonical_json(old.get(name)) != canonical_json(study.get(name)) for name in IDENTITY):
                raise ResumeError(_difference(self.folder, old, study))
        elif self.folder.exists() and any(self.folder.iterdir()):
            msg = (
                f"{self.folder}: not empty and not a study's folder (no study.json). Nothing was written; "
                "choose an empty or new folder with --out."
            )
            raise ResumeError(msg)
        write_text(path, canonical_json(study))

    def study(self) -> dict[str, Any]:
        """Return the expanded study that owns the folder.

        Raises:
            ResumeError: the folder holds no study.
        """
        path = self.folder / "study.json"
        if not path.exists():
            msg = f"{self.folder}: no study.json here. Expected the folder of a study (allograft study FILE --out DIR)."
            raise ResumeError(msg)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def outcome(self, run: str) -> Done | Failed | Waiting | None:
        """Return how a run ended, None where it has not."""
        for path in (self.run_folder(run) / "outcome.json", self.folder / "failed" / f"{run}.json"):
            if path.exists():
                return read_outcome(path.read_text(encoding="utf-8"))
        return None

    def run_folder(self, run: str) -> Path:
        """Return where a finished run lies."""
        return self.folder / "runs" / run

    def work_folder(self, run: str) -> Path:
        """Return where an unfinished run keeps its checkpoints."""
        return self.folder / "work" / run

    @contextmanager
    def finishing(self, run: str) -> Iterator[Path]:
        """Yield an empty folder for a run's files; leaving the block finishes the run by rename."""
        with folder_aside(self.run_folder(run)) as aside:
            yield aside
        (self.folder / "failed" / f"{run}.json").unlink(missing_ok=True)
        shutil.rmtree(self.work_folder(run), ignore_errors=True)

    def sweep(self, runs: list[str]) -> None:
        """Remove what a kill in the middle of finishing left of the named runs, all finished."""
        for run in runs:
            for left in (self.work_folder(run), *(self.folder / "runs").glob(f".{run}.*")):
                shutil.rmtree(left, ignore_errors=True)

    def fail(self, outcome: Failed | Waiting) -> None:
        """Keep a failure or a wait; a later success removes it."""
        write_text(self.folder / "failed" / f"{outcome.key.id}.json", outcome.model_dump_json())

    def outcomes(self, runs: list[str]) -> list[Done | Failed | Waiting]:
        """Return the outcomes of the named runs that have one, in order."""
        found = (self.outcome(run) for run in runs)
        return [outcome for outcome in found if outcome is not None]

    def predictions(self, run: str, part: str = "test") -> pd.DataFrame:
        """Return raw predictions of a finished run: case, unit, target and one column per output."""
        return pd.read_parquet(self.run_folder(run) / f"predictions-{part}.parquet")

    def write_results(self, runs: list[str]) -> Path:
        """Write `results.parquet`: a row per run, case and metric, sorted, times left out.

        The file's bytes depend on the runs only, not on their order or on interruptions.
        """
        tables = [self._rows(run) for run in sorted(runs)]
        columns = [*RUN_COLUMNS, "case", "unit", "metric", "value"]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
        table = table.sort_values([*RUN_COLUMNS[1:], "metric", "case"], kind="stable", ignore_index=True)
        path = self.folder / "results.parquet"
        write_bytes(path, table[columns].to_parquet(index=False))
        return path

    def results(self) -> pd.DataFrame:
        """Return the results table."""
        return pd.read_parquet(self.folder / "results.parquet")

    def _rows(self, run: str) -> pd.DataFrame:
        folder = self.run_folder(run)
        unseen = sorted(folder.glob("metrics-unseen-*.parquet"))
        table = pd.read_parquet(folder / "metrics-test.parquet")
        outcome = self.outcome(run)
        assert isinstance(outcome, Done)
        key = outcome.key
        values = (key.id, key.recipe, key.dataset, key.fold, key.seed, key.label_fraction)
        named: dict[str, str | int | float] = dict(zip(RUN_COLUMNS, values, strict=True))
        others = [
            pd.read_parquet(path).assign(**{**named, "dataset": path.stem.removeprefix("metrics-unseen-")})
            for path in unseen
        ]
        table = pd.concat([table.assign(**named), *others], ignore_index=True)
        return table.astype({"value": np.float64, "fold": np.int64, "seed": np.int64})


def _difference(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which fields of two studies differ."""
    fields = [name for name in IDENTITY if old.get(name) != new.get(name)]
    shown = "; ".join(f"{n}: there {_short(old.get(n))}, now {_short(new.get(n))}" for n in fields)
    return (
        f"{folder}: this folder belongs to another study ({shown}). "
        "Nothing was written; choose another --out, or restore the study file to continue this one."
    )


def _short(value: object) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else text[:57] + "..."
