"""Continual pre-training on real pictures: run examples/continual.yaml and write docs/results/continual.md.

    python benchmarks/continual.py [--out DIR] [--workers N] [--write]

A folder that holds the finished study already is only read.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from study_page import notes, scores

from allograft.core.atomic import write_text
from allograft.report.words import number
from allograft.study.conduct import conduct
from allograft.study.grid import read_study
from allograft.study.prepared import Launch
from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "examples" / "continual.yaml"
PAGE = ROOT / "docs" / "results" / "continual.md"

log = logging.getLogger("continual")


def main() -> None:
    """Run what is missing, then write the page or show it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, default=ROOT / "runs" / "continual")
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--write", action="store_true")
    given = asked.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    summary = conduct(
        read_study(STUDY),
        given.out,
        launch=Launch(base=STUDY.parent, workers=given.workers),
        on_outcome=lambda outcome, total: log.info("%s: %s", outcome.key.recipe, type(outcome).__name__),
    )
    text = page(summary)
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        write_text(PAGE, text)
    log.info("%s", text)


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
