"""Studies that several tests look at: each is run once, by whichever test process comes first."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_study as tiny

__all__ = ["Ran", "ran"]


class Ran:
    """A finished study; run once, failed or not.

    Args:
        case: its name.
        folder: of all that tests share.
        write: writes data and study into a folder and returns the study's file.
    """

    def __init__(self, case: str, folder: Path, write: Callable[[Path], Path]) -> None:
        self.out, kept = folder / case / "out", folder / f"{case}.json"
        with (folder / f"{case}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                (folder / case).mkdir()
                found = tiny.run("study", write(folder / case), "--out", self.out, "--workers", 1, "--json")
                said = {"code": found.exit_code, "said": found.stdout, "all": f"{found.output}\n{found.exception!r}"}
                kept.write_text(json.dumps(said))
            self.result = json.loads(kept.read_text())

    def of(self, recipe: str) -> Path:
        """Return the folder of the one run of a recipe."""
        folders = sorted((self.out / "runs").glob("*/outcome.json"))
        (found,) = [p.parent for p in folders if json.loads(p.read_text())["key"]["recipe"] == recipe]
        return found


def ran(kind: str, case: str, factory: pytest.TempPathFactory, write: Callable[[Path], Path]) -> Ran:
    """Return the study of a case of a kind, run now if nobody has."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / kind
    folder.mkdir(exist_ok=True)
    return Ran(case, folder, write)
