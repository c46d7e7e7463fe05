"""Words: numbers as a report writes them, the same everywhere."""

from __future__ import annotations

from allograft.study.summary import Estimate, Table

__all__ = ["begin", "counted", "interval", "number", "p_value", "percent", "share", "signed", "span", "table_title"]

NONE = "–"
"""What stands where there is no value."""


def begin(text: str) -> str:
    """Write the first letter large.

    >>> begin("balanced accuracy")
    'Balanced accuracy'
    """
    return text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    """Write three decimals; small values that would read 0.000 keep one digit, large ones need fewer.

    >>> number(-0.12345), number(0.0004), number(None)
    ('−0.123', '0.0004', '–')
    >>> number(21.944), number(425.18), number(10299.4)
    ('21.94', '425.2', '10\N{NO-BREAK SPACE}299')
    """
    if value is None:
        return NONE
    if abs(value) >= 10:
        digits = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
        return f"{value:,.{digits}f}".replace(",", "\N{NO-BREAK SPACE}").replace("-", "−")
    text = f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1g}"
    return text.replace("-", "−")


def signed(value: float | None) -> str:
    """Write a difference with its sign.

    >>> signed(0.02), signed(-0.02)
    ('+0.020', '−0.020')
    """
    return NONE if value is None else ("+" if value > 0 else "") + number(value)


def span(low: float | None, high: float | None) -> str:
    """Write an interval.

    >>> span(0.81, 0.92)
    '0.810 to 0.920'
    """
    return NONE if low is None or high is None else f"{number(low)} to {number(high)}"


def interval(estimate: Estimate) -> str:
    """Write a mean with its interval: 0.873 (0.812 to 0.921)."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.mean)
    return f"{number(estimate.mean)} ({span(estimate.low, estimate.high)})"


def p_value(value: float | None) -> str:
    """Write a p value, never as 0.

    >>> p_value(0.00001), p_value(0.04)
    ('< 0.001', '0.040')
    """
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(share: float | None) -> str:
    """Write a share, never 0 or 100 for what is not nothing or all.

    >>> percent(0.99999), percent(0.25), percent(1.0)
    ('> 99.9 %', '25 %', '100 %')
    """
    if share is None:
        return NONE
    text = f"{100 * share:.1f}"
    if (text == "100.0") != (share == 1) or (text == "0.0") != (share == 0):
        return "> 99.9 %" if share > 0.5 else "< 0.1 %"
    return f"{text.removesuffix('.0')} %"


def share(value: float) -> str:
    """Write a share that may lie outside 0 to 1.

    What is ten wholes away is only said to be that far.

    >>> share(-0.351), share(1.04), share(-0.001), share(-65.1)
    ('−35 %', '104 %', '0 %', '< −1000 %')
    """
    text = f"{100 * value:.0f} %" if abs(value) <= 10 else f"{'< -' if value < 0 else '> '}1000 %"
    return "0 %" if text == "-0 %" else text.replace("-", "−")


def counted(n: int, thing: str) -> str:
    """Write a count with its noun.

    >>> counted(1, "strip"), counted(3, "study"), counted(0, "case")
    ('1 strip', '3 studies', '0 cases')
    """
    if n == 1:
        return f"1 {thing}"
    plural = f"{thing[:-1]}ies" if thing.endswith("y") and thing[-2:-1] not in set("aeiou") else f"{thing}s"
    return f"{n:,} {plural}".replace(",", "\N{NO-BREAK SPACE}")


def table_title(table: Table) -> str:
    """Name a table: data set and share of the labels."""
    share = "all labels" if table.label_fraction == 1 else f"{percent(table.label_fraction)} of the labels"
    return f"{table.dataset}, {share}"
