"""Journal: labels and masks that a person gives, on disk before they are confirmed.

Every answer is appended to OUT.journal and synced, then the table OUT is replaced in one step. A kill at any
moment loses nothing that was confirmed: the next start reads the table and replays the journal.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout

from allograft.core.atomic import write_text
from allograft.core.errors import ConfigError, DataError

__all__ = ["Journal", "read_rows"]

Row = dict[str, str]


def read_rows(path: Path, needs: Sequence[str]) -> list[Row]:
    """Return the rows of a table.

    Raises:
        DataError: the file cannot be read, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a table ({error})."
        raise DataError(msg) from error
    missing = [name for name in needs if rows and name not in rows[0]]
    if missing or not rows:
        msg = f"{path}: expected rows with the columns {', '.join(needs)}; {', '.join(missing) or 'no row'} missing."
        raise DataError(msg)
    return rows


class Journal:
    """The labels of one table of questions.

    Args:
        out: the table of answers; what it holds already is kept.
        questions: rows with `case` and where its image lies.
        classes: labels that may be given; none where any text is an answer, as the path of a mask is.
        column: of the answers, "label" or "mask".

    Raises:
        ConfigError: another process has the table open.
        DataError: the table or its journal is not of this program, or holds a label that is no class.
    """

    def __init__(self, out: Path, questions: Sequence[Row], classes: Sequence[str], column: str = "label") -> None:
        self.out, self.path = out, out.with_name(out.name + ".journal")
        self.classes, self.column = tuple(classes), column
        self.questions = {row["case"]: row for row in questions}
        out.parent.mkdir(parents=True, exist_ok=True)
        self._mutex, self._file_lock = Lock(), FileLock(str(self.path) + ".lock", timeout=0)
        try:
            self._file_lock.acquire()
        except Timeout as error:
            msg = f"{out}: is open in another `allograft label`. Go on there, or close that one."
            raise ConfigError(msg) from error
        self._rows: dict[str, Row] = {}
        if out.exists() and out.stat().st_size:
            self._rows = {row["case"]: row for row in read_rows(out, ("case", column))}
        for case, row in self.questions.items():
            self._rows[case] = {**row, column: self._rows.get(case, {}).get(column, "")}
        self._check()
        self._replay()
        self._write()

    @property
    def labels(self) -> Mapping[str, str]:
        """Label by case of the questions, "" where open."""
        return {case: self._rows[case][self.column] for case in self.questions}

    def set(self, case: str, label: str) -> None:
        """Keep a label, "" to take it back; it is on disk when this returns, and saying it twice changes nothing.

        Raises:
            ConfigError: no such case or class.
        """
        if case not in self.questions or not self._may_be(label):
            msg = f"no question {case!r}, or no class {label!r}."
            raise ConfigError(msg)
        with self._mutex:
            if self._rows[case][self.column] == label:
                return
            self._append({"case": case, self.column: label})
            self._rows[case][self.column] = label
            self._write()

    def close(self) -> None:
        """Let others open the table; the journal is no longer needed, the table holds everything."""
        with self._mutex:
            self._write()
            self.path.unlink(missing_ok=True)
            self._file_lock.release()

    def _append(self, entry: Mapping[str, str]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _replay(self) -> None:
        """Take over what was confirmed; a last line that was torn by a kill was not."""
        if not self.path.exists():
            return
        whole = self.path.read_bytes()
        lines = whole.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = json.loads(line)
                case, label = entry["case"], entry[self.column]
            except (ValueError, KeyError, TypeError) as error:
                msg = f"{self.path}, line {number}: is no answer ({error}). Move the file away, or mend the line."
                raise DataError(msg) from error
            row = self._rows.setdefault(case, {"case": case})
            row[self.column] = label
        if lines[-1]:  # torn: cut it, or the next answer would be glued to it
            with self.path.open("r+b") as file:
                file.truncate(len(whole) - len(lines[-1]))
        self._check()

    def _check(self) -> None:
        wrong = sorted({row[self.column] for row in self._rows.values() if not self._may_be(row[self.column])})
        if wrong:
            msg = f"{self.out}: holds the label {wrong[0]!r}, which is none of {', '.join(self.classes)}."
            raise DataError(msg)

    def _may_be(self, label: str) -> bool:
        return not self.classes or label in {"", *self.classes}

    def _write(self) -> None:
        known = [name for row in self._rows.values() for name in row if name != self.column]
        columns = list(dict.fromkeys([*known, self.column]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows.values())
        write_text(self.out, text.getvalue())
