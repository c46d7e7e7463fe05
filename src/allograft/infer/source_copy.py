"""Source copy: a module of this package with all that it imports, to be run where the package is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

__all__ = ["copy_source", "needed"]

PACKAGE = "allograft"
ROOT = Path(__file__).parents[1]


def needed(*roots: str) -> tuple[str, ...]:
    """Return the modules that `roots` import from this package, and they themselves, sorted.

    Imports for type checkers alone are left out.

    Args:
        roots: dotted names ("allograft.data.preprocess").
    """
    todo, found = list(roots), set[str]()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _imports(_file(name).read_text(encoding="utf-8"))
    return tuple(sorted(found))


def copy_source(folder: Path, *roots: str) -> tuple[str, ...]:
    """Copy modules with what they import into the package `folder`, under its name in place of ours.

    Args:
        folder: a new package; its name is what imports then begin with.
        roots: dotted names.

    Returns:
        The modules that were copied.
    """
    about = distribution(PACKAGE)
    head = f"# A copy from {PACKAGE} {about.version} (Apache License 2.0, see LICENSE); its imports are renamed.\n"
    names = needed(*roots)
    for name in names:
        path = folder.joinpath(*name.split(".")[1:]).with_suffix(".py")
        for package in [path.parent, *path.parent.parents]:
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
            if package == folder:
                break
        text = re.sub(rf"(?m)^(\s*)(from|import) {PACKAGE}\b", rf"\1\2 {folder.name}", _file(name).read_text("utf-8"))
        path.write_text(head + text, encoding="utf-8")
    licence = about.read_text("licenses/LICENSE")
    if licence is not None:
        (folder / "LICENSE").write_text(licence, encoding="utf-8")
    return names


def _file(name: str) -> Path:
    return ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")


def _imports(text: str) -> Iterator[str]:
    """Yield the modules of this package that a file imports, anywhere in it."""
    tree = ast.parse(text)
    hidden = set(_for_type_checkers(ast.walk(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in hidden and (node.module or "").startswith(PACKAGE):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inside if _file(name).exists()]
            yield from modules or [str(node.module)]


def _for_type_checkers(nodes: Iterable[ast.AST]) -> Iterator[int]:
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (id(inner) for inner in ast.walk(node))
