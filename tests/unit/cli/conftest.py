"""Every command test has its own home, so that salts and caches of the user are not touched."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from allograft.cli import app
from picture_study import finished_study


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("ALLOGRAFT_HOME", str(tmp_path_factory.mktemp("home")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def study_folder(own_home):
    return finished_study()


@pytest.fixture
def run():
    def call(*arguments, code=0):
        done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return call
