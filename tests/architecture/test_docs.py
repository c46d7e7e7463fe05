"""Documentation holds what it says: links, study files, commands and examples; each check can say no."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml

from allograft.catalog import names
from allograft.cli import app
from allograft.core.config import parse_yaml
from allograft.core.errors import ConfigError
from allograft.study.grid import Study, study_from

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = (DOCS / "methods", DOCS / "reference")
"""Written by `make docs`, not kept; other tests make them into a temporary folder and look at them."""
HOSTS = [
    ".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted", "org"), ("download", "pytorch", "org"))
]
TEXTS = {".md", ".py", ".toml", ".yml", ".yaml", ""}


class Block(NamedTuple):
    """A fenced block: its page, language, text, and the comment on the line above it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name}:{self.line}"


def pages() -> list[Path]:
    """Return all pages that are written by hand, or by a benchmark."""
    own = (path for path in DOCS.rglob("*.md") if not any(path.is_relative_to(folder) for folder in GENERATED))
    return sorted([*ROOT.glob("*.md"), *own])


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start, language = -1, ""
    for number, line in enumerate(lines):
        fence = re.fullmatch(r"\s*```(\w*)\s*", line)
        if fence and start < 0:
            start, language = number, fence[1]
        elif fence:
            above = lines[start - 1] if start else ""
            mark = re.fullmatch(r"<!-- (.+) -->", above.strip())
            yield Block(page, start + 1, language, "\n".join(lines[start + 1 : number]), mark[1] if mark else "")
            start = -1
    assert start < 0, f"{page}: the block that begins in line {start + 1} has no end"


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"(?ms)^\s*```.*?^\s*```\s*$", "", page.read_text(encoding="utf-8"))


PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks(page)]


# Study files.


def studies() -> list[Block]:
    return [block for block in BLOCKS if block.language == "yaml"]


def whole(text: str) -> dict[str, Any]:
    """Return a study file; a part of one is completed, so that it can be read."""
    data = parse_yaml(text)
    if text.lstrip().startswith("study:"):
        return dict(data)
    adapts = any({"learn", "select_by"} & set(recipe) for recipe in data.get("recipes", ()))
    shift = {"domain": "site", "shift": {"target": ["b"], "labels": 2}} if adapts else {}
    rest: dict[str, Any] = {
        "study": "x",
        "datasets": [{"name": "x", "path": "x", **shift}],
        "recipes": [{"name": "a"}],
    }
    assert set(data) <= {*Study.model_fields, "common"}, f"no part of a study file: {sorted(data)}"
    complete = {**rest, **data, "common": {"net": {"encoder": "resnet18"}, **data.get("common", {})}}
    return {"baseline": complete["recipes"][0]["name"], **complete}


@pytest.mark.parametrize("block", studies(), ids=lambda b: b.where)
def test_study_files_are_read(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_files_of(block.page, tmp_path, monkeypatch)
    study_from(whole(block.text), where=block.where)


def test_there_are_study_files_and_a_wrong_one_is_found() -> None:
    assert sum(block.text.startswith("study:") for block in studies()) >= 3
    with pytest.raises(ConfigError, match="ful"):
        study_from(whole("recipes: [{name: a, start: ful}]"), where="x")
    with pytest.raises(AssertionError, match="no part of a study file"):
        whole("bugdet: {steps: 3}")


# Examples.


def _with_files_of(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that a page shows, and let them be imported and named as plug-ins."""
    shown = [block for block in blocks(page) if block.mark.startswith("file: ")]
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(names, "_PLUGINS", {block.mark.removeprefix("file: ").removesuffix(".py") for block in shown})
    for block in shown:
        name = block.mark.removeprefix("file: ")
        (folder / name).write_text(block.text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.mark == "run"], ids=lambda b: b.where)
def test_examples_run(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_files_of(block.page, tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, block.where, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: b.where)
def test_what_examples_import_exists(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_files_of(block.page, tmp_path, monkeypatch)
    imports = re.findall(r"^(?:from \S+ import .+|import .+)$", block.text, flags=re.MULTILINE)
    assert imports
    exec("\n".join(imports), {})


# Commands.


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of allograft in lines of a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"\w+=\S*", words[0]):
            words = words[1:]
        if words and words[0].rpartition("/")[2] == "allograft":
            stop = next((i for i, word in enumerate(words) if word in {">", "|", "&&", ";"}), len(words))
            yield words[1:stop]


def complaint(arguments: list[str], *, complete: bool = True) -> str:
    """Return what the command line says against a call, "" for nothing; nothing is run."""
    command: Any = typer.main.get_command(app)
    name = "allograft"
    arguments = [word for word in arguments if word != "..."]
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        if arguments[0] not in command.commands:
            return f"{name}: no command {arguments[0]}"
        name, command, arguments = f"{name} {arguments[0]}", command.commands[arguments[0]], arguments[1:]
    if hasattr(command, "commands"):
        return "" if set(arguments) <= {"--help", "--json"} else f"{name}: no command in {arguments}"
    if not complete and set(arguments) <= {"--json"}:
        return ""
    try:
        command.make_context(name, arguments)
    except Exception as error:  # typer may bring its own click
        missing = type(error).__name__ == "MissingParameter"
        return "" if missing and not complete else f"{name}: {error}"
    return ""


SHELL = [(b.where, call) for b in BLOCKS if b.language in {"bash", "console", "sh"} for call in commands(b.text)]
INLINE = [
    (str(page.relative_to(ROOT)), shlex.split(text)[1:])
    for page in PAGES
    for text in re.findall(r"`(allograft [^`\n]+)`", prose(page))
]


@pytest.mark.parametrize(("where", "call"), SHELL, ids=lambda x: x if isinstance(x, str) else " ".join(x))
def test_commands_can_be_called_as_shown(where: str, call: list[str]) -> None:
    assert not complaint(call), where


def test_commands_in_sentences_exist_with_their_options() -> None:
    wrong = [f"{where}: {said}" for where, call in INLINE if (said := complaint(call, complete=False))]
    assert not wrong, "\n".join(wrong)


def test_wrong_commands_are_found() -> None:
    assert len(SHELL) > 10
    assert len(INLINE) > 10
    assert complaint(["plan", "study.yaml", "--tensors"]) == ""
    assert "no command plam" in complaint(["plam", "study.yaml"])
    assert "--steps" in complaint(["plan", "study.yaml", "--steps", "3"])
    assert "out" in complaint(["study", "study.yaml"])
    assert complaint(["study", "study.yaml"], complete=False) == ""
    assert "no command" in complaint(["weights", "list-all"])
    assert list(commands("$ A=1 .venv/bin/allograft init x > y  # note\nls")) == [["init", "x"]]


# Links.


def slug(heading: str) -> str:
    """Return the anchor of a heading, as the site makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower())


def broken(page: Path) -> list[str]:
    """Return the internal links of a page that lead nowhere."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if any(file.is_relative_to(folder) for folder in GENERATED):
            continue
        headings = re.findall(r"(?m)^#+ (.+)$", prose(file)) if file.is_file() else []
        if not file.is_file() or (anchor and anchor not in map(slug, headings)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert not broken(page)


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A heading: yes!\n")
    (tmp_path / "a.md").write_text("[x](b.md) [x](b.md#a-heading-yes) [x](c.md) [x](b.md#no) [x](https:y)\n")
    assert broken(tmp_path / "a.md") == ["c.md", "b.md#no"]


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", text.partition("\nnav:")[2]))
    here = {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)}
    assert {name for name in here if not name.startswith("benchmarks/")} <= named
    assert {name for name in named if not name.startswith(("methods/", "reference/"))} <= here


# The generated reference.


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    sys.path.insert(0, str(DOCS))
    try:
        import make_study_reference

        make_study_reference.write(out)
    finally:
        sys.path.remove(str(DOCS))
    return out


def test_the_reference_names_every_field_with_its_meaning(reference: Path) -> None:
    text = (reference / "study-file.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \| .* \| (.*) \|$", text)
    assert {name for name, _ in rows} >= set(Study.model_fields)
    assert not [name for name, meaning in rows if not meaning], "fields without a meaning"
    linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert linked <= {slug(heading) for heading in re.findall(r"(?m)^#+ (.+)$", text)}


def test_the_schema_takes_what_is_read_and_refuses_what_is_not(reference: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((reference / "study.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    plain = [whole(block.text) for block in studies() if "my_methods:" not in block.text]
    plain.append(yaml.safe_load((ROOT / "src/allograft/cli/demo.yaml").read_text(encoding="utf-8")))
    for data in plain:
        assert not [error.message for error in check.iter_errors(data)], data["study"]
    first = plain[-1]
    short = {**first, "augment": ["flip", {"noise": {"p": 0.3}}]}
    assert not list(check.iter_errors(short))
    study_from(short, where="short")
    for change in ({"fold": 3}, {"augment": "lite"}, {"recipes": [{"name": "a", "start": "ful"}]}, {"folds": -1}):
        assert list(check.iter_errors({**first, **change})), change


# Hosts.


def test_no_package_registry_is_named() -> None:
    folders = [ROOT / name for name in ("src", "docs", "tests", "benchmarks", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in TEXTS and path.is_file()]
    files += [path for path in ROOT.iterdir() if path.suffix in TEXTS and path.is_file()]
    named = [f"{path}: {host}" for path in files for host in HOSTS if host in path.read_text(encoding="utf-8")]
    assert not named
