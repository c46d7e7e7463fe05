"""The verdict in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from allograft.study.headline import headline
from allograft.study.summary import Estimate, Pair, Ranked, Table


def ranked(name: str, mean: float | None) -> Ranked:
    words: dict[str, Any] = dict.fromkeys(("start", "tuning", "objective", "procedure", "encoder"), "x")
    return Ranked(
        name=name, estimate=Estimate(mean=mean), by_metric={}, by_class={}, by_seed={}, lrs=(), runs=1, seconds=1.0,
        coverage={}, source=None, **words,
    )  # fmt: skip


def pair(a: str, b: str, verdict: str) -> Pair:
    return Pair(
        a=a, b=b, difference=0.1, ci=(0.0, 0.2), test="t", unit="patient", n_units=9, p=0.1, p_adjusted=0.1,
        verdict=verdict, margin=0.02, sentence=f"{a} {verdict} {b}.",
    )  # fmt: skip


def table(means: dict[str, float | None], *pairs: Pair, fraction: float = 1.0, units: int = 9) -> Table:
    return Table(
        dataset="skin", label_fraction=fraction, unit="patient", n_units=units, n_cases=20, classes=("a", "b"),
        recipes=tuple(ranked(name, mean) for name, mean in means.items()), pairs=pairs,
    )  # fmt: skip


BEST = "On skin: full has the highest AUROC (0.900)"


@pytest.mark.parametrize(
    ("means", "pairs", "said"),
    [
        ({"full": 0.9}, [], "On skin: full reaches 0.900 AUROC; there is nothing to compare it with."),
        ({"full": None, "b": None}, [], "On skin: AUROC has no value on these cases; nothing can be said."),
        (
            {"full": 0.9, "b": 0.8, "c": 0.7},
            [("full", "b", "better"), ("full", "c", "better"), ("b", "c", "equivalent")],
            f"{BEST}, and it is better than every other recipe.",
        ),
        (
            {"full": 0.9, "b": 0.8},
            [("b", "full", "no detectable difference")],
            f"{BEST}; it is not shown to be better than any other, and not detectably different from b.",
        ),
        (
            {"full": 0.9, "b": 0.8, "c": 0.7, "d": 0.6},
            [("full", "d", "better"), ("full", "c", "no detectable difference"), ("b", "full", "equivalent")],
            f"{BEST}; it is better than d, equivalent to b, and not detectably different from c.",
        ),
        (
            {"full": 0.9, "b": 0.8},
            [("full", "b", "cannot tell")],
            f"{BEST}, but with 9 patients nobody can tell whether that is real.",
        ),
        (
            {"full": 0.9, "b": 0.9, "c": 0.7},
            [("full", "b", "no detectable difference"), ("full", "c", "better")],
            "On skin: full and b share the highest AUROC (0.900); full is better than c, and not detectably "
            "different from b.",
        ),
        (
            {"full": 0.9, "b": 0.9},
            [("full", "b", "cannot tell")],
            "On skin: full and b share the highest AUROC (0.900), but with 9 patients nobody can tell whether that "
            "is real.",
        ),
    ],
)
def test_who_leads_and_whether_that_is_real(
    means: dict[str, float | None], pairs: list[tuple[str, str, str]], said: str
) -> None:
    found = headline([table(means, *(pair(*each) for each in pairs))], "none", "AUROC")
    assert found == (said,)


def test_one_unit_is_written_in_the_singular() -> None:
    few = table({"a": 0.9, "b": 0.8}, pair("a", "b", "cannot tell"), units=1)
    assert "with 1 patient nobody" in headline([few], "a", "AUROC")[0]


def test_then_each_comparison_with_the_baseline() -> None:
    pairs = [pair("a", "base", "better"), pair("a", "b", "better"), pair("base", "b", "equivalent")]
    found = headline([table({"a": 0.9, "base": 0.8, "b": 0.8}, *pairs)], "base", "AUROC")
    assert found[1:] == ("a better base.", "base equivalent b.")


def test_every_label_fraction_is_named_and_nothing_is_said_of_nothing() -> None:
    tables = [table({"a": 0.9}), table({"a": 0.8}, fraction=0.1)]
    assert [s.partition(":")[0] for s in headline(tables, "a", "AUROC")] == [
        "On skin with 100% of the labels",
        "On skin with 10% of the labels",
    ]
    assert headline([], "a", "AUROC") == ("Nothing can be said yet: no seed is finished for all recipes.",)
