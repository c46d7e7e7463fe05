"""What a pre-training has to say at its end: what was read, what was learnt, what to beware of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from allograft.core.config import canonical_json
from allograft.study.pretext_stage import COLLAPSED
from allograft.study.pretraining_folder import Pretrained
from allograft.weights.contamination import licence_words

__all__ = ["data_words", "learnt_words", "recipe_words", "warning_words"]

DECEIVED = frozenset({"gan"})
"""Methods whose judge is to be deceived: answers by chance are no failure."""


def data_words(found: Pretrained) -> Iterator[str]:
    """Yield what was read, with the notes on it."""
    facts, unit = found.facts, found.facts.unit
    learnt, held = (f"{images} images of {groups} {unit}s" for images, groups in (facts.learnt, facts.held_out))
    if unit == "image":
        learnt, held = (f"{images} images" for images, _ in (facts.learnt, facts.held_out))
    size = "x".join(map(str, facts.shape[1:]))
    what = f"windows of {size}" if facts.windows else f"whole images of {size}"
    channels = f"{facts.shape[0]} channel{'s' if facts.shape[0] > 1 else ''}"
    yield f"{facts.data}: learnt from {learnt}, {held} held out; {what}, {channels}"
    if facts.left_out:
        yield f"left out: {facts.left_out} images that are to be tested, or of their patients"
    for note in facts.notes:
        yield f"note: {note}"


def learnt_words(found: Pretrained) -> Iterator[str]:
    """Yield what held-out images show, at the end and before the first step."""
    stage, facts = found.stage, found.facts
    begun, last = stage.began, stage.history.rows[-1].validation
    yield f"{facts.method}, {stage.steps} steps: held-out loss {_then(begun, last, 'held_out_loss')}"
    for name, chance in (("held_out_accuracy", "held_out_chance"), ("retrieval", "retrieval_chance")):
        if name in last:
            against = f", by chance {last[chance]:.3f}" if chance in last else ""
            yield f"{name.replace('_', '-', 1)} {_then(begun, last, name)}{against}".replace("_", " ")
    features = [f"{name} {last[name]:.3f}" for name in ("spread", "uniformity", "alignment") if name in last]
    yield f"features of images: {', '.join(features)}"
    judged = [f"{name} {_then(begun, last, name)}" for name in ("knn", "probe") if name in last]
    if judged:
        yield f"balanced accuracy of classes, never learnt from: {', '.join(judged)}"


def warning_words(found: Pretrained) -> Iterator[str]:
    """Yield what speaks against using the source as it is."""
    last = found.stage.history.rows[-1].validation
    if last["spread"] < COLLAPSED:
        yield (
            f"collapsed: features of different images are alike (spread {last['spread']:.3f}, below {COLLAPSED}). Take "
            "another method, a larger batch or a smaller rate."
        )
    chance = last.get("held_out_chance")
    deceived = found.facts.method in DECEIVED
    if chance is not None and last.get("held_out_accuracy", 1.0) <= chance and not deceived:
        yield "the pretext task is not answered better than by chance on held-out images: nothing was learnt of it"
    if not found.card.commercial:
        yield f"licence: begun with weights under {licence_words(found.card)}, and so is the source"


def recipe_words(found: Pretrained) -> Iterator[str]:
    """Yield what a study says that begins with the source: how its images must be prepared, and a recipe."""
    expects = found.card.expects
    if expects.window is not None:
        low, high = expects.window
        yield f"preprocess: {{intensity: window, low: {low:g}, high: {high:g}}}"
    elif expects.standard:
        yield "preprocess: {intensity: standard}"
    net = found.facts.net.model_dump(mode="json", exclude_defaults=True)
    said = ", ".join(f"{name}: {canonical_json(value).strip(chr(34))}" for name, value in net.items())
    yield f"- {{name: {found.card.name}, source: {found.folder.resolve()}, start: full, net: {{{said}}}}}"


def _then(begun: Mapping[str, float], last: Mapping[str, float], name: str) -> str:
    before = begun.get(name)
    return f"{last[name]:.3f}" if before is None else f"{last[name]:.3f} (before: {before:.3f})"
