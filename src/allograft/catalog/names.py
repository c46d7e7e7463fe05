"""Names: from what a study file says to a method, and back."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from allograft.catalog.registry import KINDS
from allograft.contracts import Method
from allograft.core.config import config_error, inlined_schema
from allograft.core.errors import did_you_mean
from allograft.core.named import read_by

__all__ = ["allow_plugin", "json_schema", "methods", "resolve", "spell"]


def resolve(kind: str, value: object) -> Any:
    """Turn what a study file says into a method: a name, {name: settings} or the method itself.

    Names "module:Class" are taken only for modules allowed by `allow_plugin`.

    Raises:
        ValueError: the name is unknown, with the nearest known one; pydantic places it in the file.
    """
    known = KINDS[kind]
    if isinstance(value, Method):
        return value
    name, settings = _name_and_settings(kind, value)
    found = _plugin(kind, name) if ":" in name else known.get(name)
    if found is None:
        msg = f'no {kind} "{name}". {did_you_mean(name, known)}'
        raise ValueError(msg)
    try:
        return found(**settings)
    except ValidationError as error:
        raise ValueError(str(config_error(error, where=f'{kind} "{name}"', model=found))) from error


def _name_and_settings(kind: str, value: object) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and len(value) == 1:
        name, settings = next(iter(value.items()))
        if isinstance(settings, Mapping) or settings is None:
            return str(name), dict(settings or {})
    msg = f"a {kind} is a name or one name with its settings, like {{name: {{field: value}}}}; got {value!r}"
    raise ValueError(msg)


_PLUGINS: set[str] = set()


def allow_plugin(module: str) -> None:
    """Let study files name classes of `module`; the command line's --plugin calls this.

    The working directory is searched last, so that a file beside the study can be named.
    """
    _PLUGINS.add(module)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _plugin(kind: str, name: str) -> type[Any] | None:
    module, _, cls = name.partition(":")
    if module not in _PLUGINS:
        msg = f'{kind} "{name}" is code outside allograft. To allow it run with --plugin {module}'
        raise ValueError(msg)
    try:
        return getattr(importlib.import_module(module), cls, None)
    except ImportError as error:
        msg = f'{kind} "{name}": the module cannot be imported ({error}). Check its name and the Python path.'
        raise ValueError(msg) from error


def spell(method: Any) -> dict[str, Any]:
    """Return a method as a study file writes it: {name: settings}."""
    known = any(type(method) is cls for kind in KINDS.values() for cls in kind.values())
    name = method.name if known else f"{type(method).__module__}:{type(method).__name__}"
    return {name: method.model_dump(mode="json")}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a method field, so that editors complete study files."""
    named = [
        {"type": "object", "properties": {name: inlined_schema(cls)}, "required": [name], "additionalProperties": False}
        for name, cls in KINDS[kind].items()
    ]
    return {"anyOf": [{"enum": sorted(KINDS[kind])}, *named]}


def methods() -> list[dict[str, str]]:
    """Return every method's name, kind, paper and module, for listings."""
    rows = []
    for kind, table in KINDS.items():
        for name, cls in table.items():
            rows.append({"name": name, "kind": kind, "paper": cls.paper.short(), "module": cls.__module__})
    return rows


read_by(sys.modules[__name__])
