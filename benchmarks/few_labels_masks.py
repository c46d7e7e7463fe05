"""Few labels, arms for masks: run examples/few_labels_masks.yaml and write docs/results/few_labels_masks.md.

    python benchmarks/few_labels_masks.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

from pathlib import Path

from study_page import fusions, make, notes, scores

from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "few_labels_masks.yaml"
PAGE = ROOT / "docs" / "results" / "few_labels_masks.md"
FUSED = [("fine-tuning", "mean-teacher", "cps")]


def main() -> None:
    """Run what is missing, fuse, then write the page or show it."""
    make(__doc__, STUDY, PAGE, page, fused=FUSED)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study."""
    lines = [
        "# Few labels: masks",
        "",
        "Semi-supervised segmentation and a chain of teachers against plain fine-tuning with equal steps: nuclei in",
        "fluorescence pictures of two laboratories, shrunk to 128 x 128, ImageNet weights, 4 labelled training",
        "pictures (`examples/few_labels_masks.yaml`). `python benchmarks/few_labels_masks.py --write` makes this page.",
        "Pairs are those with fine-tuning; p is corrected for all pairs of the study.",
        "",
    ]
    for table in summary.tables:
        lines += [*scores(table, summary, against=summary.baseline), *fusions(table, summary)]
    lines += ["## Verdict", "", *(f"- {sentence}" for sentence in summary.headline), ""]
    seconds = sum(row.seconds for row in summary.runs)
    return "\n".join([*lines, *notes(summary), f"Runs took {seconds / 60:.0f} minutes of wall time together.", ""])


if __name__ == "__main__":
    main()
