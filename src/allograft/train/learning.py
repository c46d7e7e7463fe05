"""Learning: makes parameters and running statistics obey the plans' `learns` at each step."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.weights.plan import Learns, TransferPlan

__all__ = ["Learning", "ever_learns", "scale_at"]


def scale_at(learns: Learns, step: int) -> float:
    """Return the learning-rate scale in force at `step`; before the first entry it is 0."""
    return next((scale for start, scale in reversed(learns) if start <= step), 0.0)


def ever_learns(learns: Learns, steps: int) -> bool:
    """Tell whether any of `steps` steps moves the tensor."""
    return any(scale != 0 and start < steps for start, scale in learns)


class Learning:
    """The plans' `learns` applied to live networks.

    A parameter whose scale is 0 neither asks for a gradient nor keeps one, so that no optimiser
    touches it (no weight decay, no moments). A layer whose running statistics are frozen works in
    evaluation mode, so that they stay as they are; everything else trains, dropout included.

    Args:
        nets: by name.
        plans: by the same names.

    Raises:
        PlanError: a network has no plan, or its plan names other tensors than it has.
    """

    def __init__(self, nets: Mapping[str, Network], plans: Mapping[str, TransferPlan]) -> None:
        self._nets = dict(nets)
        self.learns: dict[nn.Parameter, Learns] = {}
        self.decays: dict[nn.Parameter, bool] = {}
        self.names: dict[nn.Parameter, str] = {}
        self._norms: list[tuple[nn.Module, Learns]] = []
        for name, net in nets.items():
            self._read(name, net, _matching(name, net, plans))

    def _read(self, name: str, net: Network, plan: TransferPlan) -> None:
        """Note how each parameter and each running statistic of one network learns."""
        rows = {entry.target: entry for entry in plan.entries}
        for key, parameter in net.named_parameters(remove_duplicate=False):
            row = rows[key]
            if self.learns.setdefault(parameter, row.learns) != row.learns:
                msg = f"{name}: {key} and {self.names[parameter]} are one tensor, but the plan lets them learn apart."
                raise PlanError(msg)
            self.decays[parameter] = row.kind in {"weight", "position"}
            self.names.setdefault(parameter, f"{name}.{key}")
        for entry in plan.entries:
            if entry.kind == "norm_stat":
                self._norms.append((net.get_submodule(entry.target.rpartition(".")[0]), entry.learns))

    def breakpoints(self) -> frozenset[int]:
        """Return the steps at which something changes, 0 included."""
        every = [*self.learns.values(), *(learns for _, learns in self._norms)]
        return frozenset({0, *(start for learns in every for start, _ in learns)})

    def apply(self, step: int) -> None:
        """Put parameters and layers into the state that `step` asks for."""
        for parameter, learns in self.learns.items():
            moves = scale_at(learns, step) != 0
            parameter.requires_grad_(moves)
            if not moves:
                parameter.grad = None
        self.set_modes(step)

    def set_modes(self, step: int) -> None:
        """Put every network into training mode, layers with frozen statistics excepted."""
        for net in self._nets.values():
            net.train()
        for module, learns in self._norms:
            if scale_at(learns, step) == 0:
                module.training = False  # this layer only: .eval() would reach dropout inside it


def _matching(name: str, net: Network, plans: Mapping[str, TransferPlan]) -> TransferPlan:
    """Return the plan of a network, proven to name exactly its tensors."""
    if name not in plans:
        msg = f'network "{name}" has no plan; there are plans for {sorted(plans)}. Plan every network that trains.'
        raise PlanError(msg)
    planned, there = {entry.target for entry in plans[name].entries}, set(net.state_dict())
    if planned != there:
        lacking, extra = sorted(there - planned), sorted(planned - there)
        msg = (
            f'network "{name}": its plan lacks {len(lacking)} of its tensors (first {lacking[:1]}) and names '
            f"{len(extra)} that it does not have (first {extra[:1]}). Use the plan that was made for this network."
        )
        raise PlanError(msg)
    return plans[name]
