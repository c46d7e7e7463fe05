"""Write docs/reference/study-file.md and study.schema.json from the models that read a study file.

Run by `make docs`: python docs/make_study_reference.py [OUT], OUT being docs/reference by default.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import math
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from make_methods import arguments, cell
from pydantic.fields import FieldInfo

from allograft.catalog import DECODERS, ENCODERS
from allograft.contracts import Budget, Method, Objective, Optim, Procedure, Start, Tuning
from allograft.core.config import Config
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.transforms.augment import TRANSFORMS, Augment
from allograft.metrics import METRICS
from allograft.nets.encoders.inflated import FAMILIES
from allograft.nets.spec import Bag, NetSpec
from allograft.study.data_spec import AlsoSpec, DataSpec, TaskSpec
from allograft.study.grid import Search, Study
from allograft.study.prune import Prune
from allograft.study.recipe import Recipe
from allograft.study.shift import Shift

SECTIONS: tuple[tuple[str, type[Config]], ...] = (
    ("The file", Study),
    ("datasets", DataSpec),
    ("task", TaskSpec),
    ("also", AlsoSpec),
    ("shift", Shift),
    ("preprocess", Preprocess),
    ("patches", Patches),
    ("augment", Augment),
    ("search", Search),
    ("prune", Prune),
    ("recipes", Recipe),
    ("net", NetSpec),
    ("bag", Bag),
    ("optim", Optim),
    ("budget", Budget),
)
PLACES = {cls: f"[{title}](#{title})" for title, cls in SECTIONS[1:]}
METHODS = {kind: f"[{kind.__name__.lower()}](../methods/index.md)" for kind in (Start, Tuning, Objective, Procedure)}
SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))
SIMPLE = {str: "text", bool: "true or false", type(None): "null", int: "whole number", float: "number"}
PLURAL = {str: "texts", int: "whole numbers", float: "numbers"}

INTRODUCTION = """# Study file

One YAML file says everything about a study: no inheritance between files, no interpolation, no environment
variables. An unknown field is an error that names the file, the field and the nearest known name. Relative paths
start from the file's own folder. The same words serve in Python: `Study(...)`, `Recipe(...)`.

[study.schema.json](study.schema.json) lets editors complete and check study files. With the YAML language server,
the first line of the file names a copy of it:

```yaml
# yaml-language-server: $schema=study.schema.json
```

`common` is the only device for sharing: its fields are laid under every recipe, once. `net`, `optim` and `budget`
are merged field by field; methods are replaced whole.

A method field (start, tuning, objective, procedure) takes a name, `mean_var`, or a name with its settings,
`{partial: {until: stage2}}`. [Methods](../methods/index.md) lists them all. Where a meaning below says None, a file
says `null` or leaves the field out.
"""

log = logging.getLogger("make_study_reference")


def schema() -> dict[str, Any]:
    """Return the JSON schema of a study file: that of `Study`, and `common`, which may bring what recipes lack."""
    found = copy.deepcopy(Study.model_json_schema())
    recipe = found["$defs"]["Recipe"]
    recipe["required"] = ["name"]
    shared = {name: spec for name, spec in recipe["properties"].items() if name != "name"}
    found["properties"]["common"] = {
        "type": "object",
        "description": "Fields laid under every recipe.",
        "properties": shared,
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "allograft study file"}


def page() -> str:
    """Return the reference page in Markdown."""
    lines = [INTRODUCTION]
    for title, cls in SECTIONS:
        lines += [f"## {title}", "", *_section(cls)]
    lines += ["## Transforms", "", "Entries of `augment: {transforms: [...]}`, or of `augment: [...]`.", ""]
    for name, transform in TRANSFORMS.items():
        lines += [f"### {name}", "", *_section(transform)]
    ours = ", ".join(f"`{name}`" for name in ENCODERS)
    lines += ["## Encoders", "", f"{ours}; and `timm:NAME` for a network of timm's.", ""]
    lines += [
        "In 3-D, `timm:NAME` has kernels k x k x k and `timm-slice:NAME` 1 x k x k (the depth is never reduced).",
        "",
    ]
    lines += [f"Families of timm's that have an exact 3-D form: {'; '.join(FAMILIES.values())}.", ""]
    decoders = ", ".join(f"`{name}`" for name in DECODERS)
    lines += ["## Decoders", "", f"{decoders}. A segmentation needs one; `unet` fits every encoder.", ""]
    lines += ["## Metrics", "", "| Name | Tasks | Better | Margin |", "|---|---|---|---|", *_metrics()]
    return "\n".join(lines).rstrip() + "\n"


def write(out: Path) -> list[Path]:
    """Write page and schema into `out`; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "study-file.md", out / "study.schema.json"]
    files[0].write_text(page(), encoding="utf-8")
    files[1].write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")
    return files


def _metrics() -> Iterator[str]:
    for name, metric in METRICS.items():
        margin = f"{metric.margin:g}" if math.isfinite(metric.margin) else "none: set `margin`"
        better = "larger" if metric.larger_is_better else "smaller"
        yield f"| `{name}` | {', '.join(sorted(metric.kinds))} | {better} | {margin} |"


def _section(cls: type[Config]) -> list[str]:
    """Return what a class says of itself and a table of its fields."""
    doc = inspect.getdoc(cls) or ""
    lines = [doc.partition("\n\nArgs:")[0].partition("\n\n>>>")[0], ""]
    tag = "kind" if cls in TRANSFORMS.values() else ""  # a transform's kind is its name
    rows = [row for name, field in cls.model_fields.items() if name != tag for row in _row(cls, name, field)]
    return [*lines, "| Field | Value | Default | Meaning |", "|---|---|---|---|", *rows, ""] if rows else lines


def _row(cls: type[Config], name: str, field: FieldInfo) -> Iterator[str]:
    said: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        said.update(arguments(inspect.cleandoc(each.__doc__ or "")))
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    yield f"| `{name}` | {cell(_words(field.annotation) + _limits(field))} | {default} | {cell(said.get(name, ''))} |"


def _limits(field: FieldInfo) -> str:
    """Return the limits of a number: ", > 0, < 1"."""
    found = [
        f"{sign} {getattr(m, name):g}" for m in field.metadata for kind, name, sign in SIGNS if isinstance(m, kind)
    ]
    return ", " + ", ".join(found) if found else ""


def _words(annotation: Any) -> str:
    """Return a type as the author of a YAML file meets it."""
    plain = {**METHODS, **PLACES, **SIMPLE}
    if annotation in plain:
        return plain[annotation]
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(map(_words, inside)))
    if origin is Mapping:
        return "names, each with a value" if inside[1] is Any else f"names, each with a {_words(inside[1])}"
    assert origin is tuple, f"no words for {annotation}"
    if inside[-1] is not Ellipsis:
        return f"{len(inside)} {PLURAL[inside[0]]}"
    is_transform = "Flip" in str(inside[0])  # the union of all transforms
    return "list of " + ("[transforms](#transforms)" if is_transform else PLURAL.get(inside[0], _words(inside[0])))


def _default(value: Any) -> str:
    """Return a default as YAML writes it; of settings only what differs from their own defaults."""
    if isinstance(value, Method):
        return f"`{value.name}`"
    if isinstance(value, Config):
        value = value.model_dump(mode="json", exclude_defaults=True)
        if not value:
            return "its defaults"
    if isinstance(value, float):
        value = float(f"{value:.4g}")
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return f"`{text}`" if value != "" else "empty"


def main() -> None:
    """Write the files where the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference"
    log.info("%s", ", ".join(map(str, write(out))))


if __name__ == "__main__":
    main()
