"""Few labels on real pictures: run examples/few_labels.yaml and write docs/results/few_labels.md.

    python benchmarks/few_labels.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

from pathlib import Path

from study_page import labels_to_target, make, notes, scores

from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "few_labels.yaml"
PAGE = ROOT / "docs" / "results" / "few_labels.md"
PAPER = {("medal", "entropy"): "32 % (uncertainty sampling)", ("medal", "random"): "40 % (random)"}
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
        lines += labels_to_target(need, summary, PAPER)
    seconds = sum(row.seconds for row in summary.runs)
    lines += notes(summary)
    return "\n".join([*lines, f"Runs took {seconds / 60:.0f} minutes of wall time together.", ""])


if __name__ == "__main__":
    main()
