"""Pointing: shares of heat inside masks, averaged and compared by hand-made runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from allograft.study.outcome import RunKey
from allograft.study.pointed import Pointed
from allograft.study.pointing import read_pointing, write_pointed
from allograft.study.store import RunStore


def key(recipe: str, seed: int) -> RunKey:
    return RunKey(recipe=recipe, dataset="d", fold=0, seed=seed, label_fraction=1.0, id=f"{recipe}{seed}")


def runs(folder: Path, shares: Mapping[str, Sequence[Sequence[float | None]]]) -> tuple[RunStore, list[RunKey]]:
    """Write runs: by recipe, by seed, the share of cases 0, 1, ...; two cases a unit."""
    store, keys = RunStore(folder), []
    for recipe, seeds in shares.items():
        for seed, values in enumerate(seeds):
            keys.append(key(recipe, seed))
            store.run_folder(keys[-1].id).mkdir(parents=True)
            rows = [
                Pointed(
                    head="blob",
                    case=f"c{i}",
                    unit=f"u{i // 2}",
                    share=value,
                    hit=None if value is None else value > 0.5,
                    area=0.25,
                )
                for i, value in enumerate(values)
            ]
            write_pointed(store.run_folder(keys[-1].id), rows)
    return store, keys


def test_seeds_first_then_cases_then_units(tmp_path: Path) -> None:
    high = [[0.8, 0.6, 0.9, 0.7, *[0.75] * 10], [0.6, 0.6, 0.9, 0.7, *[0.65] * 10]]
    low = [[0.1, 0.2, 0.3, 0.1, *[0.2] * 10], [0.3, 0.2, 0.1, 0.1, *[0.1] * 10]]
    store, keys = runs(tmp_path, {"a": high, "b": low})
    (found,) = read_pointing(store, keys, ["b", "a", "none"], "patient")
    units = [0.65, 0.8, *[0.7] * 5]
    assert found.shares["a"].mean == pytest.approx(sum(units) / 7)
    assert (found.n_units, found.n_cases, found.without_heat) == (7, 14, {"a": 0, "b": 0})
    assert found.area == pytest.approx(0.25)
    assert found.hits == {"b": 0.0, "a": 1.0}
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.verdict) == ("a", "b", "better")
    assert pair.difference is not None
    assert pair.difference > 0.4
    assert "share of heat inside blob" in pair.sentence
    assert found.missing == ("none",)


def test_a_case_without_heat_counts_neither_for_its_recipe_nor_for_its_pairs(tmp_path: Path) -> None:
    shares: dict[str, list[list[float | None]]] = {
        "a": [[0.9, 0.5], [None, 0.5]],
        "b": [[0.1, 0.2], [0.1, 0.4]],
        "c": [[0.3, 0.3], [0.3, 0.3]],
    }
    store, keys = runs(tmp_path, shares)
    (found,) = read_pointing(store, keys, ["a", "b", "c"], "patient")
    assert (found.n_cases, found.without_heat) == (2, {"a": 1, "b": 0, "c": 0})
    assert found.shares["a"].mean == pytest.approx(0.5)
    assert found.shares["b"].mean == pytest.approx(0.2)
    assert [pair.difference for pair in found.pairs] == pytest.approx([0.2, 0.2, -0.1])
    assert found.pairs[0].verdict == "cannot tell"


def test_where_nothing_has_heat_nothing_is_claimed(tmp_path: Path) -> None:
    store, keys = runs(tmp_path, {"a": [[None]], "b": [[0.1]]})
    (found,) = read_pointing(store, keys, ["a", "b"], "patient")
    assert found.shares["a"].mean is None
    assert found.hits["a"] is None
    assert found.shares["b"].mean == pytest.approx(0.1)
    assert (found.pairs[0].verdict, found.pairs[0].difference) == ("cannot tell", None)


def test_runs_without_masks_say_nothing(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.run_folder("a0").mkdir(parents=True)
    assert read_pointing(store, [key("a", 0)], ["a"], "patient") == ()


def test_a_seed_that_a_recipe_has_not_finished_is_left_out_for_all(tmp_path: Path) -> None:
    store, keys = runs(tmp_path, {"a": [[0.2, 0.2], [0.9, 0.9]], "b": [[0.1, 0.1]]})
    (found,) = read_pointing(store, keys, ["a", "b"], "patient")
    assert found.shares["a"].mean == pytest.approx(0.2)
