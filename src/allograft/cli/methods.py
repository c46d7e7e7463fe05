"""allograft methods: every start, tuning, objective and procedure with its paper."""

from __future__ import annotations

from allograft.cli.console import AsJson, emit_json, table

__all__ = ["methods"]


def methods(as_json: AsJson = False) -> None:
    """List every method with its kind, paper and module."""
    from allograft import catalog

    rows = catalog.methods()
    if as_json:
        emit_json({"methods": rows})
        return
    table(
        "methods", ("kind", "name", "paper", "module"), [(r["kind"], r["name"], r["paper"], r["module"]) for r in rows]
    )
