"""Few labels, the other arms for classes: run examples/few_labels_classes.yaml and write its page in docs/results.

    python benchmarks/few_labels_classes.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

from pathlib import Path

from study_page import fusions, labels_to_target, make, notes, scores

from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "few_labels_classes.yaml"
PAGE = ROOT / "docs" / "results" / "few_labels_classes.md"
FUSED = [("fine-tuning", "ict", "r-drop")]


def main() -> None:
    """Run what is missing, fuse, then write the page or show it."""
    make(__doc__, STUDY, PAGE, page, fused=FUSED)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study."""
    lines = [
        "# Few labels: the other arms, for classes",
        "",
        "Entropy, consistency, self-training, a further task, bags of tiles and further acquisitions against plain",
        "fine-tuning with equal steps: tissue of H&E skin in 32 x 32 grey patches, ImageNet weights, 12 labelled",
        "training patches (`examples/few_labels_classes.yaml`); the other arms are in [few labels](few_labels.md).",
        "`python benchmarks/few_labels_classes.py --write` makes this page. random, margin, bald, k-centre and o-medal",
        "are given 36 labels more on the way; the other arms are not. Pairs are those with fine-tuning; p is corrected",
        "for all pairs of the study.",
        "",
    ]
    for table in summary.tables:
        lines += [*scores(table, summary, against=summary.baseline), *fusions(table, summary)]
    lines += ["## Verdict", "", *(f"- {sentence}" for sentence in summary.headline), ""]
    for need in summary.label_needs:
        lines += labels_to_target(need, summary, {})
    seconds = sum(row.seconds for row in summary.runs)
    return "\n".join([*lines, *notes(summary), f"Runs took {seconds / 60:.0f} minutes of wall time together.", ""])


if __name__ == "__main__":
    main()
