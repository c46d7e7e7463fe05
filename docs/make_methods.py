"""Write docs/methods/KIND/NAME.md for every method in the catalog, from its own docstrings.

Run by `make docs`: python docs/make_methods.py [OUT], OUT being docs/methods by default.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import shutil
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from allograft.core.headings import first_line, parse

KINDS = ("STARTS", "TUNINGS", "OBJECTIVES", "PROCEDURES", "ACQUISITIONS", "VOXEL_MODELS")
TITLES = {"Streams": "Streams that a step reads", "Differs": "How this differs from the paper", "Checked": "Tests"}

log = logging.getLogger("make_methods")


def methods() -> Iterator[tuple[str, str, type[Any]]]:
    """Yield (kind, name, class) of every method in the catalog, in its order."""
    catalog = importlib.import_module("allograft.catalog")
    for kind in KINDS:
        table: Mapping[str, type[Any]] = getattr(catalog, kind, {})
        for name, method in table.items():
            yield kind.lower(), name, method


def page(kind: str, name: str, method: type[Any]) -> str:
    """Return the page of one method in Markdown.

    Raises:
        ConfigError: the module's docstring lacks a heading.
    """
    module = importlib.import_module(method.__module__)
    sections = parse(module.__doc__, where=method.__module__)
    lines = [f"# {first_line(module.__doc__)}", ""]
    lines += [f"`{name}` · {kind.removesuffix('s')} · `{method.__module__}.{method.__name__}`", ""]
    lines += [sections.pop("Idea"), "", "## Use", "", *_use(kind, name, method), "## Settings", "", *_settings(method)]
    for heading, text in sections.items():
        body = f"```text\n{text}\n```" if heading == "Formula" else _items(text)
        lines += [f"## {TITLES.get(heading, heading)}", "", body, ""]
    lines += ["## Cite", "", "```bibtex", method.paper.bibtex(), "```", ""]
    return "\n".join(lines)


def write(out: Path) -> list[Path]:
    """Write all pages and an index below `out`, replacing what was there; return the files."""
    shutil.rmtree(out, ignore_errors=True)
    files: list[Path] = []
    index = ["# Methods"]
    section = ""
    for kind, name, method in methods():
        if kind != section:
            section = kind
            index += ["", f"## {kind.capitalize()}", "", "| Name | What | Paper |", "|---|---|---|"]
        path = out / kind / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(kind, name, method), encoding="utf-8")
        files.append(path)
        title = first_line(importlib.import_module(method.__module__).__doc__)
        index.append(f"| [`{name}`]({kind}/{name}.md) | {cell(title)} | {cell(method.paper.short())} |")
    (out / "index.md").write_text("\n".join(index) + "\n", encoding="utf-8")
    return files


def _items(text: str) -> str:
    """Return text whose parts begin 1., 2., ... as a list."""
    parts = re.split(r"(?:^|(?<=[.;)]) +)(?=\d+\. )", text)
    return "\n".join(part.strip() for part in parts if part.strip())


def _use(kind: str, name: str, method: type[Any]) -> list[str]:
    """Return the line of a study file that asks for the method."""
    field = kind.removesuffix("s")
    nested = {"acquisitions": ("active_learning", "acquisition"), "voxel_models": ("voxel_classifier", "model")}
    outer, inner = nested.get(kind, ("", ""))
    said = f"procedure: {{{outer}: {{{inner}: {name}}}}}" if outer else f"{field}: {name}"
    return ["```yaml", said, "```", ""]


def _settings(method: type[Any]) -> list[str]:
    """Return a table of the fields, with what the class says of each."""
    fields: Mapping[str, Any] = getattr(method, "model_fields", {})
    if not fields:
        return ["None.", ""]
    said: dict[str, str] = {}
    for each in reversed(method.__mro__):  # settings that methods share are told where they are shared
        said |= arguments(inspect.cleandoc(each.__doc__ or ""))
    rows = ["| Setting | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        rows.append(f"| `{name}` | `{cell(_type(field.annotation))}` | {default} | {cell(said.get(name, ''))} |")
    rows.append("")
    for name, field in fields.items():
        inside = next((arg for arg in get_args(field.annotation) if hasattr(arg, "model_fields")), None)
        if get_origin(field.annotation) is tuple and inside is not None:
            rows += [f"Each of `{name}`:", "", *_settings(inside)]
    return rows


def arguments(doc: str) -> dict[str, str]:
    """Return what the section Args of a docstring says of each argument."""
    found: dict[str, str] = {}
    name = ""
    lines = iter(doc.splitlines())
    for line in lines:
        if line.strip() == "Args:":
            break
    for line in lines:
        if line and not line.startswith("    "):
            break
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _type(annotation: object) -> str:
    """Return a type as a reader would write it."""
    plain = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    text = str(getattr(annotation, "__name__", annotation)) if plain else str(annotation)
    return text.replace("typing.", "").replace("collections.abc.", "")


def cell(text: str) -> str:
    """Return text that does not end a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the pages where the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "methods"
    log.info("%d method pages in %s", len(write(out)), out)


if __name__ == "__main__":
    main()
