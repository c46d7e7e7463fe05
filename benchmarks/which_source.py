"""How well estimates of transferability rank sources on real images, against runs of the same study.

    python benchmarks/which_source.py [--write] [--keep FOLDER] [--seeds 2]

Two small studies run first, then their starts are scored from training cases alone: skin histology (2-D, classes,
weights from photographs) and nuclei (2-D, masks). With one test fold no case that is tested on is looked at.
Budgets are tiny on purpose: the page takes minutes on a processor. The page is docs/results/which_source.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import yaml

from allograft.study.conduct import conduct
from allograft.study.estimators import ESTIMATORS
from allograft.study.grid import read_study
from allograft.study.prepared import Launch
from allograft.study.scores import DataScores
from allograft.study.scoring import score_file
from allograft.train.precision import cpu_name

PAGE = Path(__file__).parents[1] / "docs" / "results" / "which_source.md"
MOBILENET = "mobilenetv2_100-imagenet"
LITE = "tf_efficientnet_lite{}"


def lite(number: int, **changes: object) -> dict[str, object]:
    """Return a recipe that starts from EfficientNet-Lite's weights."""
    name = LITE.format(number)
    return {"name": f"lite{number}", "start": "full", "source": f"{name}-imagenet", "net": net(name), **changes}


def net(encoder: str) -> dict[str, object]:
    """Return a network out of timm."""
    return {"encoder": f"timm:{encoder}"}


STUDIES = {
    "skin": {
        "study": "which-source-skin",
        "datasets": [{"name": "skin", "dataset": "skin_histology"}],
        "preprocess": {"intensity": "standard"},
        "baseline": "scratch",
        "folds": 3,
        "test_folds": 1,
        "search": {"lrs": []},
        "augment": {"preset": "light"},
        "common": {
            "net": net("mobilenetv2_100"),
            "optim": {"lr": 2e-3},
            "budget": {"steps": 30, "batch": 16, "evals": 3},
        },
        "recipes": [
            {"name": "scratch", "start": "scratch"},
            {"name": "small-scratch", "start": "scratch", "net": {"encoder": "cbr_tiny", "width": 0.5}},
            {"name": "lite0-scratch", "start": "scratch", "net": net(LITE.format(0))},
            {"name": "mobilenet", "start": "full", "source": MOBILENET},
            {"name": "mobilenet-mean-var", "start": "mean_var", "source": MOBILENET},
            {"name": "mobilenet-early", "start": {"partial": {"until": "stage2"}}, "source": MOBILENET},
            lite(0),
            lite(0, name="lite0-mean-var", start="mean_var"),
            lite(1),
            lite(2),
        ],
    },
    "nuclei": {
        "study": "which-source-nuclei",
        "datasets": [{"name": "nuclei", "dataset": "nuclei_2d"}],
        "preprocess": {"intensity": "percentile"},
        "baseline": "scratch",
        "folds": 3,
        "test_folds": 1,
        "search": {"lrs": []},
        "augment": {"preset": "light"},
        "patches": {"size": [64, 64], "overlap": 0.25},
        "common": {
            "net": {**net("mobilenetv2_100"), "decoder": "unet"},
            "optim": {"lr": 3e-3},
            "budget": {"steps": 20, "batch": 4, "evals": 1},
        },
        "recipes": [
            {"name": "scratch", "start": "scratch"},
            {"name": "mobilenet", "start": "full", "source": MOBILENET},
            {"name": "mobilenet-mean-var", "start": "mean_var", "source": MOBILENET},
            {"name": "mobilenet-early", "start": {"partial": {"until": "stage2"}}, "source": MOBILENET},
            lite(0, net={**net(LITE.format(0)), "decoder": "unet"}),
            lite(1, net={**net(LITE.format(1)), "decoder": "unet"}),
        ],
    },
}


def measured(name: str, folder: Path, workers: int, seeds: int) -> tuple[DataScores, str, float, float]:
    """Run a study, score its starts; return the table, the metric, seconds of training and of scoring."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**STUDIES[name], "seeds": list(range(seeds))}, sort_keys=False), encoding="utf-8")
    study, out = read_study(file), folder / name
    begun = time.monotonic()
    conduct(
        study, out, launch=Launch(base=folder, workers=workers), on_outcome=lambda o, n: print(o.key.recipe, o.kind)
    )
    trained = time.monotonic() - begun
    begun = time.monotonic()
    scores = score_file(study, out, base=folder)
    return scores.tables[0], scores.metric, trained, time.monotonic() - begun


def truth_of(start, table: DataScores) -> float:
    """Return the mean test score of a start's best recipe."""
    return max(table.truth[recipe] for recipe in start.recipes)


def page(found: dict[str, tuple[DataScores, str, float, float]], seeds: int) -> str:
    """Write the page."""
    parts = [INTRODUCTION.format(seeds=seeds)]
    for name, (table, metric, trained, scored) in found.items():
        names = list(table.starts[0].values)
        titles = [ESTIMATORS[each].title for each in names]
        parts.append(f"## {table.dataset}: {STUDIES[name]['datasets'][0]['dataset']}\n")
        notes = "; ".join(table.notes)
        parts.append(
            f"{len(table.starts)} starts, {table.cases} training cases ({table.unit}s: {table.units}; {notes}). "
            f"Training and testing {len(table.truth)} recipes took {trained:.0f} s, scoring them {scored:.0f} s.\n"
        )
        parts.append(f"| start | {metric} after training | " + " | ".join(titles) + " |")
        parts.append("|" + "---|" * (len(names) + 2))
        for start in sorted(table.starts, key=lambda one: -truth_of(one, table)):
            cells = [value(start.values[each].value, start.ranks.get(each)) for each in names]
            parts.append(f"| {', '.join(start.recipes)} | {truth_of(start, table):.3f} | " + " | ".join(cells) + " |")
        parts += ["", "Values with ranks in brackets; larger promises more.", ""]
        parts += [*agreement(table), ""]
        for reason in dict.fromkeys(
            v.reason.replace("not available: ", "") for s in table.starts for v in s.values.values()
        ):
            parts += [f"- not available: {reason}"] if reason else []
        parts.append("")
    parts.append(verdict(found))
    parts.append(
        f"Measured on {cpu_name()}, one thread a process, on a machine that was busy with other work. "
        f"`python benchmarks/which_source.py --write --seeds {seeds}` makes this page.\n"
    )
    return "\n".join(parts)


def value(number: float | None, rank: int | None) -> str:
    return "n/a" if number is None else f"{number:.3g} ({rank})"


def agreement(table: DataScores) -> list[str]:
    """Return the table of rank correlations."""
    rows = ["| estimate | weighted tau | 95 % interval | Kendall tau | top-1 regret | best start within its first 3 |"]
    rows.append("|---|---|---|---|---|---|")
    best = max(table.starts, key=lambda one: truth_of(one, table))
    for name, found in table.agreement.items():
        interval = "-" if found.interval is None else f"{found.interval[0]:.2f} to {found.interval[1]:.2f}"
        inside = "yes" if best.ranks.get(name, 99) <= 3 else "no"
        taus = [("-" if tau is None else f"{tau:.2f}") for tau in (found.weighted_tau, found.kendall)]
        rows.append(
            f"| {ESTIMATORS[name].title} | {taus[0]} | {interval} | {taus[1]} | {found.regret:.3f} | {inside} |"
        )
    return rows


def verdict(found: dict[str, tuple[DataScores, str, float, float]]) -> str:
    """Say in words what the tables allow to say, from the tables."""
    said = ["## What this says\n"]
    for table, metric, _, _ in found.values():
        clear = [n for n, a in table.agreement.items() if a.interval is not None and a.interval[0] > 0]
        names = ", ".join(ESTIMATORS[n].title for n in clear) or "none"
        sources = max(a.sources for a in table.agreement.values())
        low = min(table.truth.values())
        span = max(table.truth.values()) - low
        worst = max(table.agreement.items(), key=lambda item: item[1].regret)
        said.append(
            f"- {table.dataset}: estimates whose rank correlation over {sources} starts is shown to be above 0: "
            f"**{names}**. "
            f"The starts span {span:.3f} {metric}; taking the first choice of the least lucky estimate "
            f"({ESTIMATORS[worst[0]].title}) would have cost {worst[1].regret:.3f} of it."
        )
        said += [f"  {w}" for w in dict.fromkeys(a.warning for a in table.agreement.values() if a.warning)]
    said.append(LIMITS)
    return "\n".join(said)


INTRODUCTION = """# Which source? Estimates against runs

`allograft score` says what each start promises from features of training cases, without training. Here its estimates
meet the test scores of the same studies, run with tiny budgets (30 and 20 steps, one test fold, seeds: {seeds}).
"""

LIMITS = """
Few sources say little: intervals over starts are wide, a random network beside pretrained ones makes any estimate look
good, and one picture of skin or two of nuclei are no population. With so few steps a start that is scored frozen also
has an advantage that long training may take away. A Dice near 0 is a run that
has not begun to learn. So estimates order or prune (`prune`), never touch the baseline or
what starts from no source, and never decide: the verdict of a study comes from its runs.
"""


def main() -> None:
    """Run, print and, where asked for, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--keep", type=Path, help="folder for the studies, continued where it exists")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        text = page({name: measured(name, folder, options.workers, options.seeds) for name in STUDIES}, options.seeds)
    print(text)
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
