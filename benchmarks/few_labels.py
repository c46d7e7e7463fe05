"""Few labels on real pictures: run examples/few_labels.yaml and write docs/results/few_labels.md.

    python benchmarks/few_labels.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

from pathlib import Path

from study_page import make, notes, scores

from allograft.report.words import NONE, number
from allograft.study.label_need import LabelNeed, Saving
from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "few_labels.yaml"
PAGE = ROOT / "docs" / "results" / "few_labels.md"
PAPER = {"entropy": "32 % (uncertainty sampling)", "random": "40 % (random)"}
"""What MedAL's authors report to have saved, on another task (diabetic retinopathy)."""


def main() -> None:
    """Run what is missing, then write the page or show it."""
    make(__doc__, STUDY, PAGE, page)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study, but for what a paper reports."""
    lines = [
        "# Few labels on real pictures",
        "",
        "Self-training, consistency and active learning against plain fine-tuning with equal steps: tissue of H&E",
        "skin in 32 x 32 grey patches, ImageNet weights (`examples/few_labels.yaml`).",
        "`python benchmarks/few_labels.py --write` makes this page. medal, entropy and random are given 36 labels more",
        "on the way than a table's title says; the other arms are not.",
        "",
    ]
    for table in summary.tables:
        lines += scores(table, summary)
    lines += ["## Verdict", "", *(f"- {sentence}" for sentence in summary.headline), ""]
    for need in summary.label_needs:
        lines += _labels(need, summary)
    seconds = sum(row.seconds for row in summary.runs)
    lines += notes(summary)
    return "\n".join([*lines, f"Runs took {seconds / 60:.0f} minutes of processor time together.", ""])


def _labels(need: LabelNeed, summary: Summary) -> list[str]:
    """Return how many labels the arms that ask for them took."""
    lines = [
        f"## Labels to {summary.metric_title} {need.target:.3f}, beginning with {need.label_fraction:.0%} of them",
        "",
        f"{need.rule}",
        "",
        "| recipe | labels (median over seeds) | seeds that got there |",
        "|---|---|---|",
    ]
    for n in need.needs:
        there = sum(value is not None for value in n.by_seed.values())
        labels = f"{n.labels:g}" if n.labels is not None else f"more than {n.at_least:g}"
        lines.append(f"| {n.recipe} | {labels} | {there} of {len(n.by_seed)} |")
    lines += [
        "",
        "| recipe | against | fewer labels | 95 % interval | pairs | the paper says |",
        "|---|---|---|---|---|---|",
    ]
    for s in need.savings:
        paper = PAPER.get(s.against, NONE) if s.recipe == "medal" else NONE
        lines.append(f"| {s.recipe} | {s.against} | {_percent(s)} | {_interval(s)} | {s.seeds} of {s.of} | {paper} |")
    return [*lines, ""]


def _percent(s: Saving) -> str:
    if s.percent is None:
        return NONE
    return f"{s.percent:.0f} %" if s.bound == "equal" else f"{s.bound} {s.percent:.0f} %"


def _interval(s: Saving) -> str:
    return NONE if s.low is None or s.high is None else f"{number(s.low)} to {number(s.high)}"


if __name__ == "__main__":
    main()
