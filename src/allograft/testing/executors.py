"""Contract of an executor: every run ends exactly once, in any order, whatever happens to it.

Each check raises AssertionError with what the executor does wrong.
"""

from __future__ import annotations

import time
from collections import Counter

from allograft.study.execute import Executor
from allograft.study.outcome import Done, Failed, RunKey, Waiting

__all__ = ["check_executor", "synthetic_job", "synthetic_key"]

RECIPES = ("quick", "slow", "raises", "refuses", "waits", "quick-too", "slow-too")
KINDS: dict[str, type[Failed] | type[Waiting]] = {"raises": Failed, "refuses": Failed, "waits": Waiting}


def synthetic_job(key: RunKey) -> Done | Failed | Waiting:
    """Do what the recipe's name says, without any training; runs in any process."""
    if key.recipe.startswith("slow"):
        time.sleep(0.2)
    if key.recipe == "raises":
        raise RuntimeError("on purpose")
    if key.recipe == "refuses":
        return Failed(key=key, error="DataError", message="on purpose", traceback="")
    if key.recipe == "waits":
        return Waiting(key=key, message="for labels")
    return Done(key=key, lr=1.0, coverage={}, scores={}, seconds={}, peak_memory_mb=0.0, environment={})


def check_executor(executor: Executor, *, seeds: int = 2) -> None:
    """Check that nothing gives nothing, that every run ends once and as it should, and that this can be repeated.

    Args:
        executor: what is checked.
        seeds: each adds a run of every kind, >= 1.

    Raises:
        AssertionError: names the run and what is wrong.
    """
    assert list(executor.map(synthetic_job, [])) == [], "no runs must give no outcomes"
    keys = [synthetic_key(recipe, seed) for seed in range(seeds) for recipe in RECIPES]
    for repeat in ("first", "second"):
        outcomes = list(executor.map(synthetic_job, keys))
        counts = Counter(outcome.key.id for outcome in outcomes)
        for key in keys:
            assert counts[key.id] == 1, f"{repeat} time: run {key.id} ended {counts[key.id]} times, expected once"
        assert len(outcomes) == len(keys), f"{repeat} time: {len(outcomes)} outcomes for {len(keys)} runs"
        for outcome in outcomes:
            assert outcome.key in keys, f"{repeat} time: nobody asked for run {outcome.key.id}"
            kind = KINDS.get(outcome.key.recipe, Done)
            found = type(outcome).__name__
            assert isinstance(outcome, kind), f"run {outcome.key.id} ended as {found}, expected {kind.__name__}"
            if outcome.key.recipe == "raises":
                assert isinstance(outcome, Failed)
                said = (outcome.error, outcome.message)
                assert said == ("RuntimeError", "on purpose"), f"the exception was reported as {said}"


def synthetic_key(recipe: str, seed: int) -> RunKey:
    """Return a key that stands for no real run."""
    name = f"{recipe}-{seed}"
    return RunKey(id=name, recipe=recipe, dataset="synthetic", fold=0, seed=seed, label_fraction=1.0)
