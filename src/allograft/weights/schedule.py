"""Schedules: which entries of a plan learn from which step on, said stage by stage.

The encoder's stages are what a tuning freezes, thaws or slows down; decoder and heads belong to the
new task and are asked for by `is_task`.
"""

from __future__ import annotations

from collections.abc import Mapping

from allograft.core.errors import ConfigError, PlanError
from allograft.nets.network import Network, stage_of
from allograft.weights.plan import Entry, Learns, TransferPlan

__all__ = [
    "FREE",
    "FROZEN",
    "by_stage",
    "encoder_stages",
    "first_stages",
    "from_step",
    "is_task",
    "norm_modules",
    "require_heads",
    "scaled",
]

FREE: Learns = ((0, 1.0),)
FROZEN: Learns = ((0, 0.0),)

_WEIGHTS = frozenset({"weight", "bias", "norm_affine", "position"})


def scaled(scale: float) -> Learns:
    """Return the schedule of one learning-rate scale >= 0 from the first step on."""
    return ((0, scale),)


def from_step(step: int) -> Learns:
    """Return the schedule that is frozen before `step` >= 1 and free from then on."""
    return ((0, 0.0), (step, 1.0))


def is_task(stage: str) -> bool:
    """Tell whether a stage belongs to the new task: the decoder or a head."""
    return stage in {"decoder", "head"} or stage.startswith(("decoder.", "head."))


def encoder_stages(plan: TransferPlan) -> tuple[str, ...]:
    """Return the names of the encoder's stages that hold tensors that can learn, input to output."""
    stages = (e.stage for e in plan.entries if e.kind in _WEIGHTS and not is_task(e.stage))
    return tuple(dict.fromkeys(stages))


def first_stages(net: Network, until: str, *, who: str) -> tuple[str, ...]:
    """Return the encoder's stages with weights from the first to `until`; of "" the first half, rounded up.

    Raises:
        ConfigError: there is no such stage.
    """
    own, known = net.stages(), {stage.name for stage in net.shape.stages()}
    held = {stage_of(name, own) for name, _ in net.named_parameters()}
    names = [stage.name for stage in own if stage.name in known & held]
    if until and until not in names:
        msg = f'{who}: until names the stage "{until}"; the encoder has {", ".join(names)}.'
        raise ConfigError(msg)
    return tuple(names[: names.index(until) + 1] if until else names[: -(-len(names) // 2)])


def by_stage(plan: TransferPlan, stages: Mapping[str, Learns]) -> dict[str, Learns]:
    """Return a schedule for every tensor: its stage's; decoder and heads are always free.

    A stage of the encoder without weights of its own (only buffers) stays as its weights would: free.
    """
    return {e.target: FREE if is_task(e.stage) else stages.get(e.stage, FREE) for e in plan.entries}


def require_heads(plan: TransferPlan, tuning: str) -> None:
    """Refuse a plan in which nothing but the encoder could learn.

    Raises:
        PlanError: the plan has neither a decoder nor a head with weights.
    """
    if not any(is_task(e.stage) and e.kind in _WEIGHTS for e in plan.entries):
        msg = (
            f'tuning "{tuning}": the network has no head or decoder with weights, so with a frozen encoder '
            f'nothing would learn. Give the network a head, or use the tuning "full".'
        )
        raise PlanError(msg)


def norm_modules(plan: TransferPlan, *, affine: str = "") -> set[str]:
    """Return the names of the encoder's normalisation layers.

    Args:
        plan: the plan.
        affine: "weight" or "bias" takes only layers that have this tensor, "" all.
    """

    def counts(entry: Entry) -> bool:
        return entry.kind == "norm_affine" and not is_task(entry.stage) and entry.target.endswith(affine)

    return {e.target.rpartition(".")[0] for e in plan.entries if counts(e)}
