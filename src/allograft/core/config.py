"""Config: frozen settings that say what is wrong with them and know their own identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from allograft.core.errors import ConfigError, did_you_mean

__all__ = ["Config", "canonical_json", "config_error", "inlined_schema", "parse_yaml", "read_yaml"]


class Config(BaseModel):
    """Base of all settings: frozen, unknown fields refused, nothing happens on construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    def content_id(self) -> str:
        """Return 16 hexadecimal digits that change with any field and with nothing else."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()[:16]

    @classmethod
    def from_data(cls, data: object, *, where: str) -> Self:
        """Validate plain data, naming `where` and the field in any error.

        Raises:
            ConfigError: a field is unknown, missing or of the wrong kind.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise config_error(error, where=where, model=cls) from error


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Loader(yaml.SafeLoader):
    """Plain data, where only true and false are truth values, as in YAML 1.2: `on` is a field, "no" a class."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse_yaml(text: str) -> Any:
    """Return what a YAML document says; `on` and `yes` are words, true and false are not."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> Any:
    """Read one YAML document safely.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path."
        raise ConfigError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: not valid YAML: {error}"
        raise ConfigError(msg) from error


def config_error(error: ValidationError, *, where: str, model: type[BaseModel] | None = None) -> ConfigError:
    """Turn pydantic's error into ours: file and field, what was expected, the nearest known name.

    Args:
        error: what pydantic found.
        where: file or place, for the reader.
        model: what was validated, so that unknown fields can be answered with known ones.
    """
    lines, found = [], error.errors(include_url=False)
    for item in found:
        if item["type"] == "too_short" and any(_inside(other["loc"], item["loc"]) for other in found):
            continue  # pydantic counts only sound items; what is wrong with the others is said
        field = _field_path(item["loc"])
        if item["type"] == "extra_forbidden":
            name = str(item["loc"][-1])
            names = _fields_at(model, item["loc"][:-1])
            hint = did_you_mean(name, names) if names else "Remove it or correct its name."
            lines.append(f'{where}, {field}: unknown field "{name}". {hint}')
        elif item["type"] == "missing":
            lines.append(f"{where}, {field}: this field is required and missing. Add it.")
        else:
            got = repr(item.get("input"))
            got = got if len(got) <= 80 else got[:77] + "..."
            lines.append(f"{where}, {field}: {item['msg'].removeprefix('Value error, ')} (got {got}).")
    return ConfigError("\n".join(lines))


def _inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _fields_at(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> list[str]:
    """Return the names of the fields at a location inside `model`, none where that is not clear."""
    for part in loc:
        if model is not None and isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) if part in model.model_fields else None
    return [] if model is None else list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model inside an annotation like `tuple[Recipe, ...]` or `Augment | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)


def _field_path(loc: tuple[int | str, ...]) -> str:
    """Write a location as the reader sees it in the file: recipes[2].start."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the whole file"


def inlined_schema(cls: type[Config]) -> dict[str, Any]:
    """Return the JSON schema of a type without references, to stand deep inside another schema."""
    schema = cls.model_json_schema(ref_template="{model}")
    inside = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, Mapping):
            found = {key: resolved(value) for key, value in node.items() if key != "$ref"}
            return {**resolved(inside[node["$ref"]]), **found} if "$ref" in node else found
        return [resolved(value) for value in node] if isinstance(node, list) else node

    return dict(resolved(schema))
