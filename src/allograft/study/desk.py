"""Desk: where a study asks a person for labels, and where it finds the answers.

FOLDER/private/asked-DATA.csv      cases that runs wait for: case, path, key, row
FOLDER/private/labels-DATA.csv     the answers: case, label (as `allograft label` writes them)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from allograft.core.atomic import write_text
from allograft.core.errors import DataError, Pending
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef, Target
from allograft.data.cohort import Cohort

__all__ = ["ASKED_COLUMNS", "Desk", "asked_row", "read_answers", "table"]

ASKED_COLUMNS = ("case", "path", "key", "row")


@dataclass(frozen=True)
class Desk:
    """The two files of one data set of a study.

    Args:
        folder: the study's.
        dataset: the data set's name.
    """

    folder: Path
    dataset: str

    @property
    def questions(self) -> Path:
        """Cases that runs wait for."""
        return self.folder / "private" / f"asked-{self.dataset}.csv"

    @property
    def answers(self) -> Path:
        """What a person said."""
        return self.folder / "private" / f"labels-{self.dataset}.csv"

    def answered(self, cohort: Cohort, ids: Sequence[str]) -> Cohort:
        """Return the cases with the labels that a person gave.

        Args:
            cohort: the cases.
            ids: the same, the most wanted first: in this order they are asked for.

        Raises:
            DataError: the file of the answers is wrong, or the task's labels cannot be given in it.
            Pending: some have no label yet; the questions lie in their file then.
        """
        known = read_answers(self.answers, cohort.task) if self.answers.exists() else {}
        missing = [name for name in ids if name not in known]
        if missing:
            self._ask([cohort[name] for name in missing])
            classes = ",".join(cohort.task.classes)
            msg = (
                f"{len(missing)} of {len(ids)} cases of {self.dataset} wait for a person's label. Give them, then run "
                f"the study again: allograft label {self.questions} --out {self.answers} --classes {classes}"
            )
            raise Pending(msg)
        return cohort.with_targets({name: {cohort.task.head: known[name]} for name in ids})

    def _ask(self, cases: Sequence[Case]) -> None:
        """Add cases to the questions; several runs may ask at once, and none is asked for twice."""
        self.questions.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self.questions) + ".lock"):
            rows = _rows(self.questions) if self.questions.exists() else []
            there = {row["case"] for row in rows}
            rows += [asked_row(case.id, case.image) for case in cases if case.id not in there]
            write_text(self.questions, table(ASKED_COLUMNS, rows))
            self.questions.chmod(0o600)


def asked_row(name: str, refs: Sequence[ImageRef]) -> dict[str, str]:
    """Return where the first channel of an image lies, as a row of questions."""
    ref = refs[0]
    row = "" if ref.row is None else str(ref.row)
    return {"case": name, "path": str(ref.path.resolve()), "key": ref.key, "row": row}


def read_answers(path: Path, task: Task) -> dict[str, Target]:
    """Return the class of each case that a person labelled; rows without a label are open questions.

    Raises:
        DataError: a column is missing, or a label is none of the classes.
    """
    if task.kind not in {"binary", "multiclass"}:
        msg = f"{path}: a person gives classes here, this task is a {task.kind}. Put masks or labels into the data."
        raise DataError(msg)
    found: dict[str, Target] = {}
    for number, row in enumerate(_rows(path), start=2):
        if "case" not in row or "label" not in row:
            msg = f"{path}: expected the columns case and label, got {', '.join(row)}."
            raise DataError(msg)
        if not row["label"]:
            continue
        if row["label"] not in task.classes:
            msg = f"{path}, line {number}: label {row['label']!r} is none of {', '.join(task.classes)}. Correct it."
            raise DataError(msg)
        found[row["case"]] = task.classes.index(row["label"])
    return found


def table(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    """Return rows as CSV with these columns."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
