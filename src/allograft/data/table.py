"""A CSV or TSV file as rows of text, with the line that each came from."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import ConfigError, DataError, did_you_mean

__all__ = ["Row", "Table", "read_table"]


class Row(NamedTuple):
    """One row: its line in the file (the header is line 1) and its cells by column."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """A file's columns and rows."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, wanted: str | None, usual: Sequence[str], *, what: str) -> str | None:
        """Return the name of a column: the one wanted, else the first of the usual names there is.

        Raises:
            ConfigError: the wanted column does not exist.
        """
        if wanted is not None:
            if wanted not in self.columns:
                msg = f'{self.path}: no column "{wanted}" (for {what}). {did_you_mean(wanted, self.columns)}'
                raise ConfigError(msg)
            return wanted
        by_name = {name.strip().lower(): name for name in reversed(self.columns)}
        return next((by_name[name] for name in usual if name in by_name), None)

    def required(self, wanted: str | None, usual: Sequence[str], *, what: str) -> str:
        """Return the name of a column that must be there.

        Raises:
            ConfigError: neither the wanted column nor a usual one exists.
        """
        name = self.column(wanted, usual, what=what)
        if name is None:
            msg = (
                f"{self.path}: no column for {what}. Looked for {', '.join(usual)}; the file has "
                f"{', '.join(self.columns)}. Name the column in the manifest's settings."
            )
            raise ConfigError(msg)
        return name


def read_table(path: Path, delimiter: str | None = None) -> Table:
    """Read a table of text.

    Args:
        path: the file; UTF-8, with or without a mark at its start.
        delimiter: between cells; by default the one of comma, semicolon and tab that the first line
            holds most often.

    Raises:
        DataError: the file is missing, empty, not UTF-8, names a column twice, or a row has more
            or fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            mark = delimiter or max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=mark, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}). Save the table as CSV in UTF-8."
        raise DataError(msg) from error
    except (OSError, csv.Error) as error:
        msg = f"{path}: cannot be read as a table ({error}). Check the path and the quotes."
        raise DataError(msg) from error
    if len(lines) < 2:
        msg = f"{path}: holds no rows, expected a header and one row for each case."
        raise DataError(msg)
    columns = tuple(name.strip() for name in lines[0][1])
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        msg = f"{path}: the column {twice[0]!r} occurs more than once. Column names must be different."
        raise DataError(msg)
    return Table(path, columns, tuple(_row(path, columns, line, cells) for line, cells in lines[1:]))


def _row(path: Path, columns: tuple[str, ...], line: int, cells: list[str]) -> Row:
    if len(cells) != len(columns):
        msg = f"{path}, line {line}: {len(cells)} cells, expected {len(columns)} as in the header. Correct the row."
        raise DataError(msg)
    return Row(line, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)})
