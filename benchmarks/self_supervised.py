"""Self-supervised pre-training: run examples/NAME.yaml and write docs/results/NAME.md.

    python benchmarks/self_supervised.py NAME [--out DIR] [--workers N] [--write]

NAME is self_supervised, self_supervised_mobilenet or self_supervised_more (patches), self_supervised_volumes or
self_supervised_volumes_more. A folder that holds the finished study already is only read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from study_page import make, notes, scores

from allograft.report.words import NONE, number
from allograft.study.compared import Estimate
from allograft.study.pretext_stage import PretextStage
from allograft.study.summary import Summary

ROOT = Path(__file__).parents[1]
FILES = {
    "self-supervised, patches": "self_supervised",
    "self-supervised, patches, MobileNet": "self_supervised_mobilenet",
    "self-supervised, volumes": "self_supervised_volumes",
    "self-supervised, patches, the other arms": "self_supervised_more",
    "self-supervised, volumes, the other arms": "self_supervised_volumes_more",
}


def main() -> None:
    """Run what is missing, then write the page or show it."""
    if len(sys.argv) < 2 or sys.argv[1] not in FILES.values():
        raise SystemExit(f"name one of {', '.join(FILES.values())}")
    name = sys.argv.pop(1)
    make(__doc__, ROOT / "examples" / f"{name}.yaml", ROOT / "docs" / "results" / f"{name}.md", page)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study."""
    name = FILES[summary.study]
    lines = [
        f"# {summary.study[:1].upper()}{summary.study[1:]}",
        "",
        f"`examples/{name}.yaml` says what was trained; `python benchmarks/self_supervised.py {name} --write` makes",
        "this page. All arms have the same steps, first stages without labels included, and their seconds stand beside",
        f"them. Pairs are those with {summary.baseline}; p is corrected for all pairs of a table.",
        "",
        "## Verdict",
        "",
        *(f"- {sentence}" for sentence in summary.headline),
        "",
    ]
    for table in summary.tables:
        lines += scores(table, summary, against=summary.baseline)
    return "\n".join([*lines, *_pretexts(summary), *notes(summary), _time(summary), ""])


def _pretexts(summary: Summary) -> list[str]:
    """Return what held-out images say of the stages without labels."""
    if not summary.pretexts:
        return []
    lines = [
        "## Were the pretext tasks learnt?",
        "",
        "On held-out images, before the first step and after the last: right answers of a task that has them; the",
        "share of a trivial guess's loss that a restoration saves; or how many views find the other view of their",
        "image. In brackets what chance gives. Spread near 0 is collapse; 5 neighbours (kNN) judge frozen features.",
        "",
        "| arm | task | measure | before | after | above chance (95 % interval over folds) | said | spread | kNN |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return [*lines, *(_row(stage) for stage in summary.pretexts), ""]


NAMES = {
    "accuracy": ("held_out_accuracy", "held_out_chance"),
    "restored": ("restored", ""),
    "retrieval": ("retrieval", "retrieval_chance"),
}


def _row(stage: PretextStage) -> str:
    value, chance = NAMES.get(stage.measure, ("", ""))
    by_chance = stage.last(chance)
    after = number(stage.last(value)) + ("" if by_chance is None else f" ({number(by_chance)})")
    cells = (
        stage.recipe,
        stage.task,
        stage.measure or NONE,
        number(_first(stage, value)),
        after,
        _above(stage.score),
        stage.told,
        f"{number(_first(stage, 'spread'))} to {number(stage.last('spread'))}",
        f"{number(_first(stage, 'knn'))} to {number(stage.last('knn'))}" if "knn" in stage.lines else NONE,
    )
    return f"| {' | '.join(cells)} |"


def _first(stage: PretextStage, name: str) -> float | None:
    return stage.lines[name].mean[0] if name in stage.lines else None


def _above(score: Estimate | None) -> str:
    if score is None or score.mean is None:
        return NONE
    if score.low is None or score.high is None:
        return number(score.mean)
    return f"{number(score.mean)} ({number(score.low)} to {number(score.high)})"


def _time(summary: Summary) -> str:
    minutes = sum(row.seconds for row in summary.runs) / 60
    return f"Runs took {minutes:.0f} minutes of wall time together, of one thread each."


if __name__ == "__main__":
    main()
