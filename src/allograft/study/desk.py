"""Desk: where a study asks a person for labels, and where it finds the answers.

FOLDER/private/asked-DATA.csv      cases that runs wait for: case, path, key, row
FOLDER/private/labels-DATA.csv     the answers, as `allograft label` writes them: case, and label or (of a
                                   segmentation) mask, the path of a copy in private/labels-DATA-masks
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
from allograft.data.drawn_masks import kept_mask

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

    def answered(self, cohort: Cohort, ids: Sequence[str], like: Cohort | None = None) -> Cohort:
        """Return the cases with the labels or masks that a person gave; what they carry for further heads stays.

        Args:
            cohort: the cases.
            ids: the same, the most wanted first: in this order they are asked for.
            like: cases with masks of the study: the person is told to write the same values.

        Raises:
            DataError: the file of the answers is wrong, or the task's labels cannot be given in it.
            Pending: some have no label yet; the questions lie in their file then.
        """
        known = read_answers(self.answers, cohort.task) if self.answers.exists() else {}
        missing = [name for name in ids if name not in known]
        if missing:
            self._ask([cohort[name] for name in missing])
            raise Pending(self._words(cohort.task, f"{len(missing)} of {len(ids)}", like))
        return cohort.with_targets({name: {**cohort[name].targets, cohort.task.head: known[name]} for name in ids})

    def _words(self, task: Task, count: str, like: Cohort | None) -> str:
        """Say what is waited for and how to give it."""
        what, more = "label", ""
        if task.kind == "segmentation":
            what, more = "mask", f" --masks FOLDER{_values(task, like)}"
        return (
            f"{count} cases of {self.dataset} wait for a person's {what}. Give them, then run the study again: "
            f"allograft label {self.questions} --out {self.answers} --classes {','.join(task.classes)}{more}"
        )

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
    """Return the class of each case that a person labelled, or its mask; rows without either are open questions.

    Raises:
        DataError: a column is missing, a label is none of the classes, or a mask is not where it should be.
    """
    if task.kind not in {"binary", "multiclass", "segmentation"}:
        msg = f"{path}: a person gives classes or masks here, this task is a {task.kind}. Put labels into the data."
        raise DataError(msg)
    column = "mask" if task.kind == "segmentation" else "label"
    found: dict[str, Target] = {}
    for number, row in enumerate(_rows(path), start=2):
        if "case" not in row or column not in row:
            msg = f"{path}: expected the columns case and {column}, got {', '.join(row)}."
            raise DataError(msg)
        if row[column]:
            found[row["case"]] = _target(row[column], task, f"{path}, line {number}")
    return found


def _target(text: str, task: Task, where: str) -> Target:
    if task.kind == "segmentation":
        return kept_mask(Path(text))
    if text not in task.classes:
        msg = f"{where}: label {text!r} is none of {', '.join(task.classes)}. Correct it."
        raise DataError(msg)
    return task.classes.index(text)


def _values(task: Task, like: Cohort | None) -> str:
    """Return the option that says what values masks hold, where those of the study hold others than 0, 1, 2, ..."""
    targets = (case.targets.get(task.head) for case in like or ())
    meaning = next((ref.classes for ref in targets if isinstance(ref, ImageRef) and ref.classes), ())
    names = [name for name, index in sorted(meaning, key=lambda pair: pair[1]) if index >= 0]
    plain = names == [str(index) for index in range(len(names))]
    fits = len(names) == len(task.classes) and all(name.isdecimal() for name in names)
    return f" --values {','.join(names)}" if fits and not plain else ""


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
