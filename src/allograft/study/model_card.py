"""Model card: what whoever is handed a trained network must know of it, as Markdown. No ids, no paths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from allograft.core.config import Config
from allograft.infer.bundle_steps import Contract
from allograft.metrics import METRICS
from allograft.study.summary import Estimate, Ranked, Summary, Table

__all__ = ["Handed", "model_card"]

LIMITS = (
    "**Not a medical device.** It was made for research, has no regulatory clearance, and no patient may be treated "
    "by its output.",
    "Images unlike those that it was trained on (another scanner, protocol, anatomy or population) give answers too; "
    "nothing warns of them. Validate it on your own cases first (`allograft evaluate`).",
    "It knows the classes above and no others; something else is given one of them.",
)
_DATA = ("name", "title", "task", "cases", "labelled", "unit", "units", "classes", "licence", "paper")
_WEIGHTS = ("name", "title", "licence", "commercial use", "has seen", "paper", "sha256", "proof")


class Handed(Config):
    """What is handed over, and what is known of it.

    Args:
        said: how the networks were chosen.
        recipe: its name, "" where unknown.
        dataset: that it was trained on, "" where unknown.
        contract: what the networks expect, and what their outputs mean.
        networks: in words, by run: encoder, decoder, channels, numbers.
        licences: "name: licence" of the weights that they were made from.
        seen: data sets that the networks have seen, labels or not.
        notes: of the networks.
        precision: of the arithmetic in training.
        ensemble: whether several networks answer together.
    """

    said: str
    recipe: str
    dataset: str
    contract: Contract
    networks: Mapping[str, str]
    licences: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = "32-true"

    @property
    def ensemble(self) -> bool:
        """Whether several networks answer together."""
        return len(self.networks) > 1


def model_card(handed: Handed, use: Sequence[str], summary: Summary | None) -> str:
    """Return the card.

    Args:
        handed: what is handed over.
        use: of this format, a paragraph each; lines that begin with four blanks are code.
        summary: of the study that made it, None where that is not at hand.
    """
    title = f"{handed.recipe or 'a network'}" + (f" on {handed.dataset}" if handed.dataset else "")
    table = _table(summary, handed)
    ranked = next((r for r in table.recipes if r.name == handed.recipe), None) if table else None
    parts = [
        ("", [f"# Model card: {title}", handed.said]),
        ("What it does", _does(handed)),
        ("How to use this folder", [*use, _about_networks(handed)]),
        ("Input contract", _input(handed)),
        ("Data", _data(handed, summary)),
        ("Recipe", _recipe(handed, summary, ranked)),
        ("Verdict of the study", _verdict(summary)),
        ("Measured", _measured(handed, summary, table, ranked)),
        ("Licences", _licences(handed, summary)),
        ("Limits", _bullets([*LIMITS, *_own_limits(handed)])),
        ("Notes", _bullets([*handed.notes, *(table.notes if table else ()), *(summary.warnings if summary else ())])),
    ]
    text = [line for head, lines in parts if lines for line in ([f"## {head}"] if head else []) + list(lines)]
    return "\n\n".join(text) + "\n"


def _does(handed: Handed) -> list[str]:
    task = handed.contract.task
    what = {
        "segmentation": "a class for every element of an image",
        "binary": "the probability of the second class",
        "multiclass": "a probability for each class, which add up to 1",
        "multilabel": "a probability for each label, independently",
    }
    classes = ", ".join(f"{i} {name}" for i, name in enumerate(task.classes))
    lines = [f"{what.get(task.kind, task.kind).capitalize()}, in {handed.contract.dims}-D. Classes: {classes}."]
    lines += _bullets(f"network `{run}`: {words}" for run, words in handed.networks.items())
    return lines


def _about_networks(handed: Handed) -> str:
    runs = "each network" if handed.ensemble else "the network"
    return (
        f"`networks/RUN/` holds {runs} as `model.safetensors`, with `bundle.json` (what it is and expects), "
        "`card.yaml` (a weight card: a source for other recipes) and `plan-table.json` (what was transferred). Nothing "
        "in them is executed; `allograft predict networks/RUN INPUT` opens one. `configs/contract.json` is the input "
        "contract for programs."
    )


def _input(handed: Handed) -> list[str]:
    c, p = handed.contract, handed.contract.preprocess
    lines = [f"{c.channels} channel(s), axes slowest first; volumes run to superior, anterior, right."]
    if p.crop != "none":
        lines.append("cropped to the box of all values above the background")
    if p.spacing is not None:
        lines.append(f"resampled to {p.spacing} mm (linear, anti-aliased)")
    if p.size is not None:
        lines.append(f"resized to {p.size} (linear, anti-aliased)")
    if p.channels is not None:
        lines.append({1: "colour made grey (BT.601)", 3: "grey repeated to three channels"}[p.channels])
    limits = f" from {p.low:g} to {p.high:g}" if p.low is not None and p.high is not None else ""
    means = {
        "unit": f"values{limits or ' of the full range of the file format'} scaled to [0, 1], clipped",
        "window": f"values{limits} scaled to [0, 1], clipped",
        "percentile": "values clipped to the 0.5th and 99.5th percentile, then zero mean and unit variance",
        "standard": "zero mean and unit variance",
    }
    each = ", each channel on its own" if p.per_channel and p.space == "standard" else ""
    lines.append(f"{means[p.intensity]}{each}")
    if c.patches is not None:
        lines.append(
            f"windows of {c.patches.size}, overlap {c.patches.overlap:g}, {c.patches.blend} weights, smaller images "
            "padded with their darkest value"
        )
    else:
        lines.append(f"the network takes images of {c.size}")
    return [*_bullets(lines), "The weights' own mean and scale are applied inside the exported network."]


def _data(handed: Handed, summary: Summary | None) -> list[str]:
    cards = [c for c in (summary.data_cards if summary else ()) if c.get("name") in {*handed.seen, handed.dataset}]
    lines = [f"The networks have seen: {', '.join(handed.seen) or 'unknown'}."]
    lines += _bullets(_facts(each, _DATA) for each in cards)
    return lines if cards else [*lines, "Nothing more is known here: the study's folder was not at hand."]


def _recipe(handed: Handed, summary: Summary | None, ranked: Ranked | None) -> list[str]:
    if summary is None or ranked is None:
        return [f"Recipe: {handed.recipe or 'unknown'}."]
    words = {
        "recipe": ranked.name,
        "start": ranked.start,
        "tuning": ranked.tuning,
        "source": PurePath(ranked.source).name if ranked.source else "none",
        "objective": ranked.objective,
        "procedure": ranked.procedure,
        "encoder": ranked.encoder,
        "learning rates": ", ".join(f"{lr:g}" for lr in sorted(set(ranked.lrs))),
        "shares of numbers": ", ".join(f"{share:.1%} {name}" for name, share in ranked.coverage.items() if share > 0),
    }
    made = ", ".join(f"{name} {value}" for name, value in summary.environment.items())
    return [*_bullets(f"{name}: {value}" for name, value in words.items()), f"Made with {made}."]


def _verdict(summary: Summary | None) -> list[str]:
    return list(summary.headline) if summary else ["No study was at hand, so nothing is said of other recipes."]


def _measured(handed: Handed, summary: Summary | None, table: Table | None, ranked: Ranked | None) -> list[str]:
    if summary is None or table is None or ranked is None:
        return ["No measured result is at hand."]
    estimate, title = ranked.estimate, summary.metric_title
    lines = [
        f"{title}: **{_value(estimate)}** over {estimate.n_units} {table.unit}(s) ({estimate.method} interval, 95 %), "
        f"{table.n_cases} test cases of {table.dataset}, {table.label_fraction:.0%} of the labels.",
        "These are test results of the recipe's single networks, each on cases that it was not trained on"
        + (
            ", averaged; the networks together were not measured (no case is new to all of them)."
            if handed.ensemble
            else ", averaged over all its runs; this network is one of them."
        ),
        _metric_table({METRICS[name].title: value for name, value in ranked.by_metric.items() if name in METRICS}),
    ]
    if table.length_unit and handed.contract.task.kind == "segmentation":
        lines.append(f"Distances are in {table.length_unit}, volume differences in {table.volume_unit}.")
    per_class = ranked.by_class.get(summary.metric, {})
    lines += (
        [f"By class: {', '.join(f'{name} {value:.3f}' for name, value in per_class.items())}."] if per_class else []
    )
    for other in table.unseen:
        if ranked.name in other.estimates:
            found = other.estimates[ranked.name]
            lines.append(
                f"On {other.dataset}, never looked at: {_value(found)} {title}, {found.n_units} {other.unit}(s)."
            )
    return lines


def _licences(handed: Handed, summary: Summary | None) -> list[str]:
    if not handed.licences:
        return ["No weights of others went in. The licence of the data may bind all the same."]
    names = {text.partition(":")[0] for text in handed.licences}
    lines = [f"Made from {'; '.join(handed.licences)}. Their terms bind whoever uses these networks."]
    cards = [each for each in (summary.weight_cards if summary else ()) if each.get("name") in names]
    return [*lines, *_bullets(_facts(each, _WEIGHTS) for each in cards)]


def _own_limits(handed: Handed) -> list[str]:
    lines = []
    if handed.precision != "32-true":
        lines.append(f"Trained in {handed.precision}; exported in float32, so numbers differ slightly from training's.")
    if handed.contract.task.kind not in {"segmentation", "regression"}:
        lines.append("Probabilities are scaled by a temperature fitted on validation cases; elsewhere they may be off.")
    return lines


def _table(summary: Summary | None, handed: Handed) -> Table | None:
    """Return the table with the most labels that ranks the recipe."""
    tables = [t for t in (summary.tables if summary else ()) if handed.dataset in {"", t.dataset}]
    return next((t for t in tables if any(r.name == handed.recipe for r in t.recipes)), None)


def _facts(card: Mapping[str, Any], names: Sequence[str]) -> str:
    """Say a card in one line; a title that is the name once more is left out."""
    shown = {name: card[name] for name in names if card.get(name) not in (None, "", [], {})}
    if shown.get("title") == shown.get("name"):
        shown.pop("title", None)
    return "; ".join(f"{name}: {_plain(value)}" for name, value in shown.items())


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else json.dumps(value)


def _bullets(lines: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(lines))
    return ["\n".join(f"- {line}" for line in found)] if found else []


def _value(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "no value"
    span = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.mean:.3f}{span}"


def _metric_table(rows: Mapping[str, Estimate]) -> str:
    body = [f"| {name} | {_value(value)} |" for name, value in rows.items()]
    return "\n".join(["| metric | mean (95 % interval) |", "|---|---|", *body])
