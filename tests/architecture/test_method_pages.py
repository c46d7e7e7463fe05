"""docs/make_methods.py writes a page for every method, from its docstrings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from allograft.catalog import ACQUISITIONS, OBJECTIVES, PROCEDURES, STARTS, TUNINGS, VOXEL_MODELS
from allograft.core.errors import ConfigError

SCRIPT = Path(__file__).parents[2] / "docs" / "make_methods.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_methods", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_for_every_method_and_an_index_that_links_them(script: ModuleType, tmp_path: Path) -> None:
    files = script.write(tmp_path / "methods")
    assert len(files) == sum(map(len, (STARTS, TUNINGS, OBJECTIVES, PROCEDURES, ACQUISITIONS, VOXEL_MODELS)))
    index = (tmp_path / "methods" / "index.md").read_text(encoding="utf-8")
    assert all(str(path.relative_to(tmp_path / "methods")) in index for path in files)


def test_pages_of_methods_that_are_gone_go_too(script: ModuleType, tmp_path: Path) -> None:
    stale = tmp_path / "methods" / "starts" / "gone.md"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    script.write(tmp_path / "methods")
    assert not stale.exists()


def test_a_page_says_settings_with_meaning_lists_and_citation(script: ModuleType) -> None:
    page = script.page("starts", "mean_var", STARTS["mean_var"])
    assert "| `norm` | `Literal['identity', 'sample', 'copy']` | `'identity'` | what normalisation layers" in page
    assert "start: mean_var" in page
    assert "\n2. Running statistics are never drawn" in page
    assert "@article{raghu2019transfusion" in page


def test_a_method_without_headings_stops_the_script(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allograft.starts.full.__doc__", "Full: no headings.")
    with pytest.raises(ConfigError, match=r"allograft\.starts\.full: .*no text under Idea"):
        script.page("starts", "full", STARTS["full"])
