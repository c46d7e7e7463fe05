"""Verdicts: better, equivalent, no detectable difference, cannot tell.

better                    Holm-adjusted p below 1 - level and the interval leaves out 0.
equivalent                two one-sided tests: the 90 % interval lies inside ± margin (and not "better").
no detectable difference  neither; how many units would be needed is said.
cannot tell               fewer than 6 independent units, or no valid test.

A difference can be real and yet smaller than the margin: it is called better, and the sentence says
that it is smaller than what matters. Equivalence is not corrected for the number of comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from allograft.stats.evidence import Evidence
from allograft.stats.multiplicity import holm
from allograft.stats.power import units_needed

__all__ = ["MIN_UNITS", "Arms", "Comparison", "Verdict", "compare", "settle"]

Verdict = Literal["better", "equivalent", "no detectable difference", "cannot tell"]

MIN_UNITS = 6
"""Independent units below which nothing is claimed: no sign pattern over 5 units reaches p < 0.05."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """What is compared.

    Args:
        a: name of one arm.
        b: name of the other.
        metric: the metric as it is written in a sentence.
        larger_is_better: direction of the metric.
    """

    a: str = "a"
    b: str = "b"
    metric: str = ""
    larger_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two arms, judged.

    Args:
        a: name of one arm; where the verdict is "better" and the comparison is settled, the better one.
        b: name of the other.
        metric: the metric in words.
        difference: how much better a is than b, whatever the metric's direction.
        raw_difference: metric of a minus metric of b.
        ci: interval of `difference` at `level`.
        ci_equivalence: its interval at 2 level - 1.
        test: test that ci and p come from.
        unit: what an independent unit is ("patient").
        n_units: how many there are.
        p: two-sided p value, NaN where no test is possible.
        p_adjusted: after Holm's correction over `family` comparisons.
        verdict: one of four.
        margin: differences within ± margin do not matter; NaN for none.
        level: confidence level.
        family: comparisons that were corrected for.
        units_needed: units with which a difference as large as the margin would probably (80 %)
            be found, None where unknown.
        also: p values of further tests.
        note: what else must be said.
    """

    a: str
    b: str
    metric: str
    difference: float
    raw_difference: float
    ci: tuple[float, float]
    ci_equivalence: tuple[float, float]
    test: str
    unit: str
    n_units: int
    p: float
    p_adjusted: float
    verdict: Verdict
    margin: float
    level: float = 0.95
    family: int = 1
    units_needed: int | None = None
    also: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def within_margin(self) -> bool:
        """Whether two one-sided tests place the difference inside ± margin."""
        return -self.margin < self.ci_equivalence[0] and self.ci_equivalence[1] < self.margin

    def swapped(self) -> Comparison:
        """Return the same comparison seen from the other arm."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            difference=-self.difference,
            raw_difference=-self.raw_difference,
            ci=(-self.ci[1], -self.ci[0]),
            ci_equivalence=(-self.ci_equivalence[1], -self.ci_equivalence[0]),
        )

    def adjusted(self, p_adjusted: float, family: int) -> Comparison:
        """Return the comparison judged by an adjusted p; the better arm becomes a."""
        judged = replace(self, p_adjusted=p_adjusted, family=family)
        judged = replace(judged, verdict=_judge(judged))
        return judged.swapped() if judged.verdict == "better" and judged.difference < 0 else judged

    def as_row(self) -> dict[str, Any]:
        """Return plain values for JSON: None where a number is not finite."""
        row: dict[str, Any] = {name: _plain(value) for name, value in vars(self).items() if name != "also"}
        row["also"] = {name: _plain(value) for name, value in self.also.items()}
        row["sentence"] = self.sentence()
        return row

    def sentence(self) -> str:
        """Return the verdict in one plain sentence that names test, unit and interval."""
        return _SENTENCES[self.verdict](self)


def compare(evidence: Evidence, *, arms: Arms, unit: str, margin: float) -> Comparison:
    """Judge one difference alone; use `settle` on all comparisons of a family afterwards.

    Args:
        evidence: what the test found, arm a minus arm b.
        arms: names, metric and its direction.
        unit: what an independent unit is, in the singular.
        margin: smallest difference that matters, > 0; NaN for none.

    Raises:
        ValueError: the margin is not positive.
    """
    if margin <= 0:
        msg = f"margin must be positive, got {margin}: it is the smallest difference that matters."
        raise ValueError(msg)
    found = Comparison(
        a=arms.a,
        b=arms.b,
        metric=arms.metric or "the metric",
        difference=evidence.difference,
        raw_difference=evidence.difference,
        ci=evidence.ci,
        ci_equivalence=evidence.ci_equivalence,
        test=evidence.test,
        unit=unit,
        n_units=evidence.n_units,
        p=evidence.p,
        p_adjusted=evidence.p,
        verdict="cannot tell",
        margin=margin,
        level=evidence.level,
        units_needed=units_needed(evidence.sd, margin, level=evidence.level),
        also=evidence.also,
        note=evidence.note,
    )
    if not arms.larger_is_better:
        found = replace(found.swapped(), a=found.a, b=found.b, raw_difference=found.raw_difference)
    return replace(found, verdict=_judge(found))


def settle(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Correct a family of comparisons (Holm) and judge them again, in the given order.

    Comparisons that cannot be told are not counted in the family; their adjusted p is NaN.
    """
    testable = [_testable(one) for one in comparisons]
    p = holm([one.p if ok else float("nan") for one, ok in zip(comparisons, testable, strict=True)])
    family = sum(testable)
    return tuple(one.adjusted(float(q), family) for one, q in zip(comparisons, p, strict=True))


def _testable(one: Comparison) -> bool:
    return one.n_units >= MIN_UNITS and math.isfinite(one.p) and all(map(math.isfinite, one.ci))


def _judge(one: Comparison) -> Verdict:
    if not _testable(one):
        return "cannot tell"
    if one.p_adjusted < 1 - one.level and not one.ci[0] <= 0 <= one.ci[1]:
        return "better"
    return "equivalent" if one.within_margin else "no detectable difference"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    """Three decimals, or two digits for what would else read 0.000."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1g}"


def _units(n: int, unit: str) -> str:
    if n == 1:
        return f"{n} {unit}"
    plural = unit[:-1] + "ies" if unit.endswith("y") and unit[-2:-1] not in set("aeiou") else unit + "s"
    return f"{n} {plural}"


def _bracket(one: Comparison) -> str:
    p, name = one.p_adjusted, "Holm p" if one.family > 1 else "p"
    value = f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}"
    ends = f"{one.level:.0%} CI {_number(one.ci[0])} to {_number(one.ci[1])}"
    return f"({ends}; {one.test} over {_units(one.n_units, one.unit)}, {value})"


def _better(one: Comparison) -> str:
    side = one if one.difference >= 0 else one.swapped()
    text = f"{side.a} is better than {side.b} by {_number(side.difference)} {side.metric} {_bracket(side)}"
    if one.within_margin:
        text += f"; the difference is real but smaller than the margin of {_number(one.margin)} that matters"
    return text + "."


def _equivalent(one: Comparison) -> str:
    low, high = map(_number, one.ci_equivalence)
    return (
        f"{one.a} and {one.b} are equivalent: they differ by less than {_number(one.margin)} {one.metric} "
        f"({2 * one.level - 1:.0%} CI of the difference {low} to {high}; two one-sided tests, {one.test} over "
        f"{_units(one.n_units, one.unit)})."
    )


def _undetected(one: Comparison) -> str:
    text = (
        f"No detectable difference between {one.a} and {one.b}: {_number(one.difference)} {one.metric} {_bracket(one)}"
    )
    if one.units_needed is not None and one.units_needed > one.n_units:
        text += (
            f"; to detect a difference of {_number(one.margin)} four times in five, "
            f"about {_units(one.units_needed, one.unit)} would be needed"
        )
    return text + (f" ({one.note})." if one.note else ".")


def _untold(one: Comparison) -> str:
    why = f"there are {_units(one.n_units, one.unit)} and at least {MIN_UNITS} independent ones are needed"
    if one.n_units >= MIN_UNITS:
        why = one.note or "no valid test exists for these values"
    seen = f" (observed difference {_number(one.difference)})" if math.isfinite(one.difference) else ""
    return f"Cannot tell whether {one.a} or {one.b} is better in {one.metric}: {why}{seen}."


_SENTENCES = {
    "better": _better,
    "equivalent": _equivalent,
    "no detectable difference": _undetected,
    "cannot tell": _untold,
}
