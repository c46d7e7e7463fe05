"""Continual pre-training on real pictures: run examples/continual.yaml and write docs/results/continual.md.

    python benchmarks/continual.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

from pathlib import Path

from study_page import make, notes, scores

from allograft.report.words import number
from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "continual.yaml"
PAGE = ROOT / "docs" / "results" / "continual.md"


def main() -> None:
    """Run what is missing, then write the page or show it."""
    make(__doc__, STUDY, PAGE, page)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study."""
    lines = [
        "# Continual pre-training on real pictures",
        "",
        "Photographs, then fluorescence microscopy with nuclei outlined, then tissue of H&E skin, against the direct",
        "way: `examples/continual.yaml`. All recipes have the same steps; a chain pays its link out of them.",
        "`python benchmarks/continual.py --write` makes this page.",
        "",
    ]
    for table in summary.tables:
        lines += scores(table, summary)
    lines += ["## Verdict", "", *(f"- {sentence}" for sentence in summary.headline), ""]
    lines += _chains(summary)
    lines += notes(summary)
    return "\n".join(lines)


def _chains(summary: Summary) -> list[str]:
    lines = [
        "## The chains, of one run each",
        "",
        "| recipe | stage | data | begun with | steps | validation | proof |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, chain in summary.chains.items():
        for s in chain.steps if len(chain.steps) > 1 else ():
            cells = (name, s.stage, " + ".join(s.data), s.source or "fresh values", str(s.steps))
            lines.append(f"| {' | '.join(cells)} | {s.metric} {number(s.validation)} | {s.proof or '–'} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
