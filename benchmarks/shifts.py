"""A shift between domains: run examples/shift_NAME.yaml and write docs/results/shift_NAME.md.

    python benchmarks/shifts.py NAME [--out DIR] [--workers N] [--write]

NAME is protocols (synthetic), tissue, nuclei or organs (real). A folder that holds the finished study already is only
read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from study_page import make, notes

from allograft.report.words import NONE, counted, interval, number, p_value, share, span
from allograft.study.domain_gap import LeftOut, Recovered, Shifted
from allograft.study.summary import Ranked, Summary, Table

ROOT = Path(__file__).parents[1]
NAMES = ("protocols", "tissue", "nuclei", "organs")


def main() -> None:
    """Run what is missing, then write the page or show it."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        raise SystemExit(f"name one of {', '.join(NAMES)}")
    name = sys.argv.pop(1)
    make(__doc__, ROOT / "examples" / f"shift_{name}.yaml", ROOT / "docs" / "results" / f"shift_{name}.md", page)


def page(summary: Summary) -> str:
    """Return the page; every number comes from the study."""

    lines = [
        f"# {summary.study[:1].upper()}{summary.study[1:]}",
        "",
        *_said(summary.study),
        f"`{FILES[summary.study]}` is the study, `python benchmarks/shifts.py NAME --write` makes this page.",
        "All recipes have the same steps.",
        "",
        "## Verdict",
        "",
        *(f"- {sentence}" for sentence in summary.headline),
        "",
    ]
    for table in summary.tables:
        lines += _table(table, summary)
    for one in summary.left_out:
        lines += _left_out(one, summary)
    return "\n".join([*lines, *notes(summary)])


FILES = {
    "shift of protocols": "examples/shift_protocols.yaml",
    "shift of templates": "examples/shift_tissue.yaml",
    "shift of microscopes": "examples/shift_nuclei.yaml",
    "shift of scans": "examples/shift_organs.yaml",
}


def _said(study: str) -> list[str]:
    return {
        "shift of protocols": [
            "SYNTHETIC: real anatomy of one template, deformed at random, seen by calculated MR protocols. What",
            "methods that read no label of the target win back of what the change of protocol costs.",
        ],
        "shift of templates": [
            "REAL: grey and white matter, learnt from one brain template, predicted on another. Two pictures in",
            "blocks: results speak of these two.",
        ],
        "shift of microscopes": [
            "REAL: nuclei in fluorescence pictures of three laboratories, each left out in turn.",
            "Results speak of these three samples.",
        ],
        "shift of scans": [
            "REAL: which organ lies at the centre of a patch, learnt from a plain CT, predicted on one with contrast",
            "agent. One scan each, in slabs: results speak of these two.",
        ],
    }[study]


def _table(table: Table, summary: Summary) -> list[str]:
    found = table.shift
    assert found is not None, "studies of shifts have one in every table"
    scored = {r.name: r for r in table.recipes}
    head = [
        f"## {table.dataset}: {', '.join(found.source)} to {', '.join(found.target)}",
        "",
        *([*(f"- {sentence}" for sentence in found.sentences[:2]), ""] if len(summary.tables) > 1 else ()),
        f"| recipe | {summary.metric_title} over {counted(table.n_units, table.unit)} of the target | labels "
        "| chosen by | better than source-only by | Holm p | verdict | part of the gap | s/run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ends = [name for name in (found.source_only, found.target_supervised) if name]
    rows = [_end(name, scored[name], found) for name in ends]
    rows += [_row(one, scored[one.recipe].seconds, interval(scored[one.recipe].estimate)) for one in found.recovered]
    return [*head, *rows, "", *_domains(found, summary), *_maps(found)]


def _end(name: str, scored: Ranked, found: Shifted) -> str:
    what = "source-only" if name == found.source_only else "all labels"
    cells = (name, interval(scored.estimate), scored.learn or "source", found.selections.get(name, NONE))
    return f"| {' | '.join(cells)} | – | – | {what} | – | {scored.seconds:.0f} |"


def _row(one: Recovered, seconds: float, score: str) -> str:
    part = NONE if one.share is None else share(one.share)
    if one.low is not None and one.high is not None:
        part += f" ({share(one.low)} to {share(one.high)})"
    return (
        f"| {one.recipe} | {score} | {one.labels} | {one.selection} | {number(one.gain.mean)} "
        f"({span(one.gain.low, one.gain.high)}) | {p_value(one.p_adjusted)} | {one.verdict} | {part} | {seconds:.0f} |"
    )


def _domains(found: Shifted, summary: Summary) -> list[str]:
    names = [f"{domain.name} ({domain.side})" for domain in found.domains]
    lines = [
        f"{summary.metric_title} by domain:",
        "",
        f"| recipe | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for recipe in found.domains[0].estimates if found.domains else ():
        cells = [number(domain.estimates[recipe].mean) for domain in found.domains]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return [*lines, ""]


def _maps(found: Shifted) -> list[str]:
    if not found.maps:
        return []
    lines = [
        "How well a linear classifier tells the domains apart by the deepest features (0.5 is chance), and their",
        "squared MMD, before and after training, in one run of each:",
        "",
        "| recipe | told apart before | after | MMD² before | after |",
        "|---|---|---|---|---|",
    ]
    for one in found.maps:
        cells = (one.told_before, one.told_after, one.mmd_before, one.mmd_after)
        lines.append(f"| {one.recipe} | {' | '.join(number(cell) for cell in cells)} |")
    return [*lines, ""]


def _left_out(one: LeftOut, summary: Summary) -> list[str]:
    lines = [
        f"## {one.dataset}, each domain left out in turn: {summary.metric_title}",
        "",
        f"| recipe | mean | {' | '.join(one.domains)} |",
        f"|---|---|{'---|' * len(one.domains)}",
    ]
    for recipe, values in one.values.items():
        cells = [number(values.get(domain)) for domain in one.domains]
        lines.append(f"| {recipe} | {number(one.means.get(recipe))} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
