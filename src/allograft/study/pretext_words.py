"""Pretext words: what a stage without labels did, as plain sentences. No torch."""

from __future__ import annotations

from allograft.study.compared import Estimate
from allograft.study.pretext_stage import COLLAPSED, PretextStage

__all__ = ["sentences"]

MEASURES = {
    "accuracy": ("held_out_accuracy", "held_out_chance", "its own answers on held-out images are right in {} of cases"),
    "restored": ("restored", "", "its loss on held-out images is {} of a trivial guess's"),
    "retrieval": ("retrieval", "retrieval_chance", "{} of held-out views find the other view of their image"),
}
JUDGES = {"knn": "5 nearest neighbours", "probe": "a linear probe"}


def sentences(stage: PretextStage) -> tuple[str, ...]:
    """Return whether the task was learnt, whether features collapsed, and how well classes are seen in them."""
    return tuple(said for said in (_told(stage), _collapse(stage), *(_moved(stage, name) for name in JUDGES)) if said)


def _told(stage: PretextStage) -> str:
    """Say whether the pretext task was learnt on held-out images, with the numbers that it rests on."""
    if stage.measure not in MEASURES:
        return "Nobody can tell whether the task was learnt: its log says neither an accuracy nor a trivial guess."
    said, above, gained = _measured(stage), _interval(stage.score), _interval(stage.gain)
    above = f"saved share {above}" if stage.measure == "restored" else f"above chance by {above}"
    if stage.told == "learnt":
        return f"The task is learnt: {said} ({above}; more than before the first step by {gained})."
    if stage.told == "better than chance":
        more = "what it was before the first step is not recorded"
        if stage.gain is not None:
            fell = stage.gain.high is not None and stage.gain.high < 0
            more = f"{'worse' if fell else 'not shown to be better'} than before the first step (difference {gained})"
        return f"The task is done better than by chance, but {more}: {said} ({above})."
    if stage.told == "not shown":
        return f"It is not shown that the task was learnt: {said} ({above})."
    return f"Nobody can tell whether the task was learnt, there are too few test folds ({stage.folds}): {said}."


def _measured(stage: PretextStage) -> str:
    """Say what tells it: after the last step, by chance, and before the first step."""
    value, chance, text = MEASURES[stage.measure]
    line = stage.lines[value]
    last, first = (1 - x if stage.measure == "restored" else x for x in (line.mean[-1], line.mean[0]))
    said = text.format(_percent(last)) + (f", by chance {_percent(stage.last(chance))}" if chance else "")
    return said + (f", before the first step {_percent(first)}" if line.x[0] == 0 else "")


def _collapse(stage: PretextStage) -> str:
    """Say whether features collapsed."""
    if "spread" not in stage.lines:
        return ""
    line = stage.lines["spread"]
    how = f"spread {_number(line.mean[0])} at first, {_number(line.mean[-1])} at the end"
    rule = f"below {COLLAPSED:g} is called collapsed, a threshold of ours"
    if not stage.collapsed:
        return f"Features did not collapse: {how}; {rule}."
    return f"Features collapsed in {stage.collapsed} of {line.runs} run{'s' * (line.runs > 1)}: {how}; {rule}."


def _moved(stage: PretextStage, name: str) -> str:
    """Say how well a simple classifier of frozen features knew the task's classes, at first and at the end."""
    if name not in stage.moved:
        return ""
    line, change = stage.lines[name], stage.moved[name]
    low, high = change.low, change.high
    if low is None or high is None:
        verdict = "too few test folds to tell whether that is real"
    elif low > 0 or high < 0:
        verdict = f"{'a rise' if low > 0 else 'a fall'}: {_interval(change)}"
    else:
        verdict = f"no change shown: {_interval(change)}"
    judge = JUDGES[name]
    return (
        f"{judge[:1].upper()}{judge[1:]} on frozen features: balanced accuracy {_number(line.mean[0])} at first, "
        f"{_number(line.mean[-1])} at the end ({verdict})."
    )


def _interval(found: Estimate | None) -> str:
    """Write a difference with its interval."""
    if found is None or found.mean is None:
        return "an unknown amount"
    if found.low is None or found.high is None:
        return _number(found.mean)
    ends = f"{_number(found.low)} to {_number(found.high)}"
    return f"{_number(found.mean)}, 95\N{NO-BREAK SPACE}% interval {ends} over {found.n_units} folds"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if abs(value) >= 0.095 else f"{value:.3f}".replace("-", "−")
