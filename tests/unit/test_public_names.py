"""`from allograft import ...`: all names are there, the import is fast and free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import allograft


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, allograft; "
        "heavy = [m for m in ('torch', 'numpy', 'pandas', 'pydantic', 'timm', 'monai') if m in sys.modules]; "
        "assert not heavy, heavy; from allograft import Study; assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", allograft.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(allograft, name)
    assert found.__name__ == name
    assert found.__doc__


def test_type_checkers_see_the_same_names_from_the_same_homes():
    tree = ast.parse(Path(allograft.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == sorted(allograft.__all__)
    assert seen == {name: f"allograft.{home}" for name, home in allograft._HOME.items()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Studdy"):
        allograft.Studdy
    assert "Study" in dir(allograft)
