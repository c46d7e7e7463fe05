"""build_plan: rules, a network and a source become one row for each tensor; nothing is changed.

Only shapes are read, so the network may lie on the meta device and the source may be a header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from allograft.nets.network import Network
from allograft.weights.build_notes import source_notes
from allograft.weights.fit import TAKES, fit
from allograft.weights.heads import Unkept, head_rows
from allograft.weights.kinds import Slot, further_inputs, slots
from allograft.weights.plan import Entry, TransferPlan, Unused
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights
from allograft.weights.suggest import closest, drop_line, mend

__all__ = ["CUT", "LEAST", "OWN", "PROBLEM", "build_plan"]

LEAST = 0.95
"""Smallest share of the encoder's numbers, among those that rules ask of the source, that must get a value."""

PROBLEM = "PROBLEM:"
"""Begins the reason of a row that could not be given the value that its rule asks for."""

OWN = "not in the source; as the network makes it"
"""Reason of batch counters and tables that old files lack and that change nothing that is computed."""

CUT = "net.until: cut off on purpose"
"""Reason of source tensors that belong to stages which the network was built without."""

OTHER_TABLE = "an index table of another size; as the network makes it"
"""Reason of tables of places, which follow from the network's own windows."""

_NEW_TASK = ("decoder.", "heads.")


class _Row(NamedTuple):
    """An entry, the rule that made it, and what is wrong with it."""

    slot: Slot
    rule: Rule
    entry: Entry
    trouble: Literal["", "no source", "missing", "unfit"] = ""
    text: str = ""


def build_plan(
    net: Network, source: SourceWeights | None, rules: Sequence[Rule], *, start: str, least: float = LEAST
) -> TransferPlan:
    """Plan what every tensor of `net` becomes.

    A rule that copies is upgraded to rescale (input channels of the first convolution, by their names where
    both sides know them), inflate, collapse, resize or resample where that is defined, and `why` says so.
    What cannot be had is a problem, never silence; so is a source tensor that the network has no place for.

    Args:
        net: the network, on any device.
        source: the weights, None for starts that need none.
        rules: the first that matches a tensor wins; the last must match every tensor.
        start: name of the start.
        least: smallest share of the encoder's numbers asked of the source that must get a value, in [0, 1].

    Raises:
        ValueError: there are no rules, or the last one does not match every tensor.
    """
    if not rules or rules[-1].where != Where():
        msg = f'start "{start}": the last rule must match every tensor (an empty Where).'
        raise ValueError(msg)
    rows = [_row(slot, _rule_for(slot, rules), source) for slot in slots(net)]
    unused = () if source is None else _unused(rows, source, net)
    return TransferPlan(
        start=start,
        source=None if source is None else source.card.name,
        entries=tuple(row.entry for row in rows),
        unused=unused,
        problems=_problems(rows, rules, source, least, net),
        notes=() if source is None else _notes(net, source, rows),
    )


def _rule_for(slot: Slot, rules: Sequence[Rule]) -> Rule:
    return next(r for r in rules if r.where.matches(key=slot.key, stage=slot.stage, kind=slot.kind))


def _row(slot: Slot, rule: Rule, source: SourceWeights | None) -> _Row:
    """Decide one tensor."""
    if rule.action is Action.FRESH:
        return _Row(slot, rule, _entry(slot, Action.FRESH, rule.why))
    if rule.action is Action.COMPUTE:
        return _computed(slot, rule)
    if rule.action is Action.SAMPLE and (slot.counter or slot.kind in {"norm_stat", "buffer"}):
        return _Row(slot, rule, _entry(slot, Action.FRESH, "statistics and buffers are never sampled"))
    if source is None:
        return _trouble(slot, rule, "no source", "no source")
    return _by_name(slot, rule, source) if rule.by == "name" else _taken(slot, rule, source)


def _taken(slot: Slot, rule: Rule, source: SourceWeights) -> _Row:
    """Decide a tensor that the rule wants from the source."""
    if slot.source not in source.shapes:
        if slot.counter or slot.kind == "buffer":
            return _Row(slot, rule, _entry(slot, Action.FRESH, OWN))
        return _trouble(slot, rule, "missing", "no such tensor in the source")
    shape = source.shapes[slot.source]
    if not slot.counter and not source.dtypes[slot.source].is_floating_point:
        return _trouble(slot, rule, "unfit", f"the source holds {source.dtypes[slot.source]} numbers")
    if slot.counter and slot.kind == "buffer" and shape != slot.shape:
        return _Row(slot, rule, _entry(slot, Action.FRESH, OTHER_TABLE))
    how = fit(slot, shape, rule, source.card.expects)
    if isinstance(how, str):
        return _trouble(slot, rule, "unfit", how)
    why = rule.why + (f"; {how.remark}" if how.remark else "")
    entry = _entry(slot, how.action, why)
    return _Row(
        slot, rule, entry.model_copy(update={"source": slot.source, "source_shape": shape, "args": dict(how.args)})
    )


def _by_name(slot: Slot, rule: Rule, source: SourceWeights) -> _Row:
    """Decide a tensor of a head: rows of classes that the source has too; the rest as built."""
    if not slot.outputs:
        return _Row(slot, rule, _entry(slot, Action.FRESH, "new task: its rows are no classes"))
    found = head_rows(slot, source.card, source.shapes)
    if isinstance(found, Unkept):
        fresh = _Row(slot, rule, _entry(slot, Action.FRESH, f"new task: {found.text}"), text=found.text)
        return _trouble(slot, rule, "unfit", found.text) if found.wrong else fresh
    shape = source.shapes[found.source]
    same = shape == slot.shape and found.rows == tuple(range(len(found.rows)))
    entry = _entry(slot, Action.COPY if same else Action.SELECT, f"{rule.why}; {found.words}")
    args = {} if same else {"rows": found.text, "label_map": found.words}
    entry = entry.model_copy(update={"source": found.source, "source_shape": shape, "args": args})
    return _Row(slot, rule, entry, text=found.words)


def _computed(slot: Slot, rule: Rule) -> _Row:
    if rule.formula != "gabor":
        return _trouble(slot, rule, "unfit", f'no formula "{rule.formula}"; known: gabor')
    kernel = slot.shape[2:]
    if not slot.conv or min(kernel[-2:]) < 3 or (len(kernel) == 3 and kernel[0] % 2 == 0):
        return _trouble(slot, rule, "unfit", "Gabor filters need a kernel of at least 3 x 3 and odd depth")
    entry = _entry(slot, Action.COMPUTE, rule.why)
    return _Row(slot, rule, entry.model_copy(update={"args": {"formula": "gabor"}}))


def _entry(slot: Slot, action: Action, why: str) -> Entry:
    return Entry(target=slot.key, stage=slot.stage, kind=slot.kind, shape=slot.shape, action=action, why=why)


def _trouble(slot: Slot, rule: Rule, kind: Literal["no source", "missing", "unfit"], text: str) -> _Row:
    return _Row(slot, rule, _entry(slot, Action.FRESH, f"{PROBLEM} {text}"), kind, text)


def _unused(rows: Sequence[_Row], source: SourceWeights, net: Network) -> tuple[Unused, ...]:
    """Explain every source tensor that gives no value."""
    used = {row.entry.source for row in rows}
    fate = {row.slot.source: "does not fit" if row.trouble else f"rule: {row.entry.why}" for row in rows}
    rest = [
        Unused(source=key, shape=shape, why=CUT if _cut(key, net) else fate.get(key, "no such tensor in the network"))
        for key, shape in source.shapes.items()
        if key not in used
    ]
    return (*rest, *source.unmapped)


def _cut(key: str, net: Network) -> bool:
    """Tell whether a tensor lies in a part that was cut off the network's encoder."""
    removed: tuple[str, ...] = getattr(net.encoder, "removed", ())
    return any(key == part or key.startswith(part + ".") for part in removed)


def _cut_keys(source: SourceWeights, net: Network) -> set[str]:
    return {key for key in source.shapes if _cut(key, net)}


def _problems(
    rows: Sequence[_Row], rules: Sequence[Rule], source: SourceWeights | None, least: float, net: Network
) -> tuple[str, ...]:
    found = _idle_rules(rows, rules)
    lacking = next((row for row in rows if row.trouble == "no source"), None)
    if lacking:
        found.append(
            f'rule "{lacking.rule.why}" takes values from a source and none is given. First: {lacking.slot.key}. '
            "Name one in the recipe (source: NAME)."
        )
    unfit = [row for row in rows if row.trouble == "unfit"]
    if unfit:
        shown = "; ".join(f"{row.slot.key}: {row.text}" for row in unfit[:3])
        found.append(f'{_tensors(len(unfit))} not fit rule "{unfit[0].rule.why}". {shown}. {_mend_unfit(source)}')
    if source is not None:
        found += _source_problems(rows, source, least) + _nameless(rows)
        found += [] if unfit or len(found) else _unplaced(rows, source, net)
    return tuple(found)


def _nameless(rows: Sequence[_Row]) -> list[str]:
    """Say so where heads were to be kept by name and none was: an option that does nothing is a mistake."""
    asked = [row for row in rows if row.rule.by == "name" and row.slot.outputs]
    if not asked or any(row.entry.source for row in asked):
        return []
    why = asked[0].text
    return [
        f'heads: "match" keeps no row of head "{asked[0].slot.head}": {why}. Name the classes alike, or use "fresh".'
    ]


def _tensors(count: int) -> str:
    return f"{count} tensor{' does' if count == 1 else 's do'}"


def _mend_unfit(source: SourceWeights | None) -> str:
    if source is None:
        return "Use another network or rule."
    return f'The weights belong to "{source.encoder_name}" in {source.card.dims}-D; use that network or another rule.'


def _idle_rules(rows: Sequence[_Row], rules: Sequence[Rule]) -> list[str]:
    """Rules that should give values to named stages or tensors and match none."""
    found = []
    for rule in rules:
        named = (rule.where.stages or rule.where.keys) and not rule.where.kinds
        if not named or rule.action is Action.FRESH:
            continue
        if not any(rule.where.matches(key=r.slot.key, stage=r.slot.stage, kind=r.slot.kind) for r in rows):
            known = ", ".join(dict.fromkeys(row.slot.stage for row in rows))
            asked = ", ".join(rule.where.stages or rule.where.keys)
            found.append(f'rule "{rule.why}" names {asked} and matches no tensor. Stages of this network: {known}.')
    return found


def _source_problems(rows: Sequence[_Row], source: SourceWeights, least: float) -> list[str]:
    """Missing tensors and too small a share."""
    found = []
    missing = [row for row in rows if row.trouble == "missing"]
    if missing:
        found.append(_missing(missing, rows, source))
    asked = [row for row in rows if row.rule.action in TAKES and not row.slot.key.startswith(_NEW_TASK)]
    asked = [row for row in asked if row.trouble or row.entry.action in TAKES]
    total = sum(row.entry.numbers for row in asked)
    got = sum(row.entry.numbers for row in asked if not row.trouble)
    if got < least * total:
        found.append(
            f'source "{source.card.name}" gives a value to {100 * got / total:.1f} % of the encoder numbers that the '
            f"rules ask of it; at least {100 * least:g} % expected."
        )
    return found


def _missing(missing: Sequence[_Row], rows: Sequence[_Row], source: SourceWeights) -> str:
    first = missing[0]
    taken = {row.entry.source for row in rows}
    free: Mapping[str, tuple[int, ...]] = {key: shape for key, shape in source.shapes.items() if key not in taken}
    near = closest(first.slot.source, first.slot.shape, free)
    dropped = {each.source for each in source.unmapped}
    hints = [
        f"Closest key: {near}." if near else "No key resembles it.",
        mend([row.slot.source for row in missing], free),
        "The key map drops that name on purpose; remove the line." if first.slot.source in dropped else "",
        f'The weights belong to "{source.encoder_name}"; is that this network?' if len(missing) < len(source) else "",
    ]
    verb = {Action.SAMPLE: "samples", Action.SELECT: "selects"}.get(first.rule.action, "copies")
    head = f"{len(missing)} tensor{' has' if len(missing) == 1 else 's have'} no value. First: {first.slot.key}"
    return f'{head} — rule "{first.rule.why}" {verb} it, the source has no such key. ' + " ".join(filter(None, hints))


def _unplaced(rows: Sequence[_Row], source: SourceWeights, net: Network) -> list[str]:
    """Source tensors that the network does not know: another depth, or a head that was not dropped."""
    known = {row.slot.source for row in rows}
    placed = known | _cut_keys(source, net)
    rest = [
        key
        for key in source.shapes
        if key not in placed and not key.startswith(_NEW_TASK) and source.dtypes[key].is_floating_point
    ]
    if not rest or not any(row.entry.action in TAKES for row in rows):
        return []
    parts = [prefix for stage in net.shape.stages() for prefix in stage.prefixes]
    inside = [key for key in rest if any(key.startswith(part + ".") for part in parts)]
    hint = (
        f'They lie in stages that it has: build it as "{source.encoder_name}", to which the weights belong.'
        if inside
        else f"If they are to be dropped, say so in the card's key map: {drop_line(rest, known)}."
    )
    head = f'{len(rest)} tensors of source "{source.card.name}" have no place in the network. First: {rest[0]}.'
    return [f"{head} {hint}"]


def _notes(net: Network, source: SourceWeights, rows: Sequence[_Row]) -> tuple[str, ...]:
    """What the reader should know of the source, and which row of a head became which."""
    names, channels = net.channel_names, net.shape.in_channels
    said = source_notes(source, channels=channels, names=names, encoder=net.encoder_name, further=further_inputs(net))
    if gone := len(_cut_keys(source, net)):
        said = (*said, f"encoder: {gone} tensors of the source lie behind the cut (net.until) and are not used")
    maps = {row.slot.head: row.text for row in rows if row.rule.by == "name" and row.entry.source and row.text}
    return (*said, *(f"head {head}: {text}" for head, text in maps.items()))
