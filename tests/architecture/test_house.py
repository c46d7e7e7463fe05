"""The house rules that a machine can check; each check is also shown to say no."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allograft.catalog import ACQUISITIONS, OBJECTIVES, PROCEDURES, STARTS, TUNINGS, VOXEL_MODELS
from allograft.core.headings import parse, unmarked_defaults
from allograft.core.reference import Reference

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "allograft"
REFERENCE = ROOT / "tests" / "reference"

FILE_LINES, FUNCTION_LINES, METHOD_FILE_LINES = 300, 40, 170
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
HOMES = {
    "ray": ("study/executors/ray",),
    "pydicom": ("data/io/dicom", "infer/write_seg", "infer/write_sr"),
    "highdicom": ("infer/write_seg", "infer/write_sr"),
    "SimpleITK": ("data/io/sitk",),
    "nibabel": ("data/io/nifti",),
    "timm": ("nets/encoders/timm_encoder", "nets/encoders/timm_pretrained"),
    "jinja2": ("report/",),
    "matplotlib": ("report/",),
    "lightning_fabric": ("train/device",),
    "monai": ("data/transforms/", "functional/", "metrics/", "infer/", "nets/encoders/"),
    "torchmetrics": ("metrics/",),
    "sklearn": ("metrics/", "data/split", "shallow/", "analysis/transferability/linear_probe"),
    "skimage": ("functional/orb",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "onnx": ("infer/export_onnx",),
    "onnxscript": ("infer/export_onnx",),
    "onnxruntime": ("infer/export_onnx",),
    "openvino": ("infer/export_openvino",),
}
"""Where a heavy dependency may be imported: beginnings of paths below src/allograft."""
METHOD_FOLDERS = ("starts", "tunings", "objectives", "procedures")
METHODS: list[tuple[str, str, type[Any]]] = [
    (kind, name, method)
    for kind, table in (
        ("start", STARTS),
        ("tuning", TUNINGS),
        ("objective", OBJECTIVES),
        ("procedure", PROCEDURES),
        ("acquisition", ACQUISITIONS),
        ("voxel_model", VOXEL_MODELS),
    )
    for name, method in table.items()
]
IDS = [f"{kind}-{name}" for kind, name, _ in METHODS]


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def long_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield functions over the limit; the docstring does not count, it is there to be long."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            doc = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - doc
            if lines > FUNCTION_LINES:
                yield node.name, lines


def siblings(path: Path, text: str) -> set[str]:
    """Return method files of the same folder that a file imports."""
    methods = {method.__module__ for _, _, method in METHODS}
    package = ".".join(("allograft", *path.relative_to(SRC).parent.parts))
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module in methods and node.module.rpartition(".")[0] == package}


def strays(path: str, text: str) -> set[str]:
    """Return heavy dependencies that a file imports outside their home."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        found |= {name.split(".")[0] for name in names}
    return {name for name in found if name in HOMES and not path.startswith(HOMES[name])}


def unsafe_calls(text: str) -> list[str]:
    """Return calls that run or unpickle what a file says, and prints."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            pickled = called in {"pickle.load", "pickle.loads", "pickle.Unpickler"}
            if called in {"eval", "exec", "print"} or pickled or (called == "torch.load" and not safe):
                found.append(f"line {node.lineno}: {called}")
    return found


def reference_tests(name: str) -> list[str]:
    """Return the files in tests/reference that name a class."""
    return [path.name for path in REFERENCE.glob("test_*.py") if name in path.read_text(encoding="utf-8")]


def complaints(method: type[Any]) -> list[str]:
    """Return what is wrong with a method's docstring, its citation and its tests."""
    found = []
    sections = parse(importlib.import_module(method.__module__).__doc__, where=method.__module__)
    found += [f"Defaults: {name} says neither paper nor ours" for name in unmarked_defaults(sections["Defaults"])]
    for name, field in method.model_fields.items():
        if not field.is_required() and name not in sections["Defaults"]:
            found.append(f"Defaults: does not name the setting {name}")
    if not isinstance(getattr(method, "paper", None), Reference):
        found.append("cites no paper")
    if not reference_tests(method.__name__):
        found.append("no file in tests/reference names it")
    named = sections["Checked"].split("tests/reference/")[1:]
    found += [f"Checked names {each}" for each in (n.split(":")[0].split(" ")[0] for n in named) if not _exists(each)]
    return found


def _exists(name: str) -> bool:
    return (REFERENCE / name.rstrip(".,;")).exists()


def untidy(where: str, text: str) -> list[str]:
    """Return what is wrong with the size, the names and the calls of a file below src/allograft."""
    lines, path = len(text.splitlines()), Path(where)
    most = METHOD_FILE_LINES if path.parts[0] in METHOD_FOLDERS else FILE_LINES
    found = [f"{lines} lines, at most {most}: split it along its nouns"] if lines > most else []
    found += [f"{path.stem} is no noun: what does it hold?"] if path.stem in FORBIDDEN else []
    found += [f"{name}() has {n} lines, at most {FUNCTION_LINES}, docstring aside" for name, n in long_functions(text)]
    found += [f"{name} is allowed only in {', '.join(HOMES[name])}" for name in sorted(strays(where, text))]
    if path.parts[0] != "testing":  # the suites pickle what they made themselves
        found += unsafe_calls(text)
    return [f"{where}: {each}" for each in found]


def test_files_are_short_well_named_and_safe() -> None:
    found = [each for path in sources() for each in untidy(str(path.relative_to(SRC)), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", [*METHOD_FOLDERS, "procedures/acquisition", "procedures/voxel_models"])
def test_method_files_do_not_import_their_siblings(folder: str) -> None:
    for path in (SRC / folder).glob("*.py"):
        found = siblings(path, path.read_text(encoding="utf-8"))
        assert not found, f"{path.name} imports {found}: shared mathematics goes down to functional/"


@pytest.mark.parametrize(("kind", "name", "method"), METHODS, ids=IDS)
def test_every_method_is_cited_documented_and_referenced(kind: str, name: str, method: type[Any]) -> None:
    assert method.name == name, f"the {kind} {method.__name__} calls itself {method.name!r}, the catalog {name!r}"
    assert complaints(method) == []


def test_every_method_file_is_in_the_catalog() -> None:
    known = {method.__module__ for _, _, method in METHODS}
    for folder in METHOD_FOLDERS:
        for path in (SRC / folder).glob("*.py"):
            module = f"allograft.{folder}.{path.stem}"
            holds = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if _is_method(node)]
            assert path.stem == "__init__" or not holds or module in known, f"{module} is not in the catalog"


def _is_method(node: ast.stmt) -> bool:
    """Tell whether a statement defines a method class."""
    return isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Method" for b in node.bases)


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"pytest imports test files by name: {twice}"


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_package_has_its_place_in_the_layers() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(c for c in config["contracts"] if c["type"] == "layers")["layers"]
    placed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    there = {path.stem for path in SRC.glob("*.py")} | {path.name for path in SRC.iterdir() if _is_package(path)}
    missing = there - placed - {"__init__", "__main__", "testing"}
    assert not missing, f"no layer in pyproject.toml for {sorted(missing)}"


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").exists()


# Each check can say no.


def test_an_untidy_file_is_found() -> None:
    assert untidy("study/utils.py", "x = 1\n" * 301) == [
        "study/utils.py: 301 lines, at most 300: split it along its nouns",
        "study/utils.py: utils is no noun: what does it hold?",
    ]
    assert untidy("starts/x.py", "x = 1\n" * 171)
    assert untidy("study/x.py", "x = 1\n" * 171) == []


def test_a_long_function_is_found_and_a_long_docstring_is_not() -> None:
    body = "\n".join(f"    x = {i}" for i in range(FUNCTION_LINES))
    assert list(long_functions(f"def f():\n{body}\n")) == [("f", FUNCTION_LINES + 1)]
    doc = '    """' + "\n    word" * 60 + '\n    """'
    assert list(long_functions(f"def f():\n{doc}\n    return 1\n")) == []


def test_a_sibling_import_is_found() -> None:
    text = "from allograft.starts.full import Full\nfrom allograft.weights.plan import Entry\n"
    assert siblings(SRC / "starts" / "x.py", text) == {"allograft.starts.full"}


def test_a_dependency_away_from_home_and_an_unsafe_call_are_found() -> None:
    assert strays("study/job.py", "import ray\nfrom timm.models import x\nimport numpy") == {"ray", "timm"}
    assert strays("study/executors/ray.py", "import ray") == set()
    text = "torch.load(p)\ntorch.load(p, weights_only=True)\neval('1')\npickle.loads(b)\nmodel.eval()"
    assert unsafe_calls(text) == ["line 1: torch.load", "line 3: eval", "line 4: pickle.loads"]


def test_a_method_without_reference_test_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    method = STARTS["full"]
    assert complaints(method) == []
    monkeypatch.setattr(sys.modules[__name__], "REFERENCE", ROOT / "docs")
    assert [c for c in complaints(method) if c.startswith("no file")]
    assert [c for c in complaints(method) if c.startswith("Checked names")]


def test_an_unmarked_default_and_an_unnamed_setting_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("allograft.starts.mean_var")
    doc = (module.__doc__ or "").replace('norm = "identity" (ours; the paper does not say)', "other = 1")
    monkeypatch.setattr(module, "__doc__", doc)
    assert complaints(STARTS["mean_var"]) == [
        "Defaults: other says neither paper nor ours",
        "Defaults: does not name the setting norm",
    ]


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    package = tmp_path / "house"
    for name, text in (("low", "import house.high\n"), ("high", "")):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text(text)
    (package / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "house"\n[[tool.importlinter.contracts]]\n'
        'name = "layers"\ntype = "layers"\ncontainers = ["house"]\nlayers = ["high", "low"]\n'
    )
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "house.low" in done.stdout
