"""One run, from its key to a finished folder; whatever goes wrong becomes a row."""

from __future__ import annotations

import resource
import time
import traceback
from pathlib import Path

from allograft.core.errors import AllograftError
from allograft.study.outcome import Done, Failed, RunKey, Waiting
from allograft.study.prepared import Prepared, load_prepared
from allograft.study.store import RunStore

__all__ = ["run_one"]


def run_one(key: RunKey, folder: Path) -> Done | Failed | Waiting:
    """Make one run of the study in `folder` and finish it in the store.

    Args:
        key: which run.
        folder: the study's folder, prepared.

    Returns:
        How the run ended; an exception is a `Failed` with its traceback.
    """
    store = RunStore(folder)
    try:
        return _run(key, store, load_prepared(folder))
    except Exception as error:
        shown = "" if isinstance(error, AllograftError) else traceback.format_exc()
        return Failed(key=key, error=type(error).__name__, message=str(error), traceback=shown)
