"""What `make demo` fetches must be within reach where CI runs; elsewhere the test is skipped by name."""

from __future__ import annotations

import os
from importlib.resources import files

import pytest
import yaml

from allograft.catalog import DATASETS
from allograft.data.origins import reachable
from allograft.study.grid import study_from
from allograft.weights.card import cards


def demo_origins() -> dict[str, tuple[str, str]]:
    study = study_from(yaml.safe_load(files("allograft.cli").joinpath("demo.yaml").read_text()), where="demo.yaml")
    found = {name: (cards()[name].origin, cards()[name].sha256) for name in {r.source for r in study.recipes} - {None}}
    for data in study.datasets:
        for name, origin in DATASETS[data.dataset]().card()["origin"].items():
            found[f"{data.dataset}: {name}"] = (origin["origin"], origin["sha256"])
    return found


@pytest.mark.origin
@pytest.mark.parametrize("name", sorted(demo_origins()))
def test_the_demos_origins_can_be_reached(name):
    origin, sha256 = demo_origins()[name]
    if not reachable(origin, sha256=sha256):
        said = f"{name} ({origin}) cannot be reached from this machine"
        if os.environ.get("CI"):
            pytest.fail(f"{said}; the demo needs it, and so does CI")
        pytest.skip(said)
