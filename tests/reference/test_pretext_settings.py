"""Defaults of pretext tasks that their files call the paper's are the paper's numbers."""

from __future__ import annotations

import pytest

from allograft.objectives.cpc import CPC
from allograft.objectives.exemplar import Exemplar
from allograft.objectives.jigsaw import Jigsaw
from allograft.objectives.masked_autoencoder import MaskedAutoencoder
from allograft.objectives.models_genesis import ModelsGenesis
from allograft.objectives.patch_grid import SIDE
from allograft.objectives.rotation import Rotation

PAPERS = {
    Jigsaw: {"permutations": 100, "apart": False},
    CPC: {"per_side": 4, "context": 256, "loss": "info_nce", "flips": True},
    Exemplar: {"output": 1024, "margin": 1.0},
    ModelsGenesis: {"shuffle": 0.5, "intensity": 0.9, "paint": 0.9, "inside": 0.2, "running": False, "windows": None},
    MaskedAutoencoder: {"share": 0.75, "per_block": True},
}


@pytest.mark.parametrize("method", PAPERS, ids=lambda method: method.name)
def test_defaults_are_the_papers(method):
    made = method()
    assert {name: getattr(made, name) for name in PAPERS[method]} == PAPERS[method]


def test_counts_of_classes_are_the_papers():
    assert [len(next(iter(Rotation().tasks(dims).values())).classes) for dims in (2, 3)] == [4, 10]
    assert [SIDE**dims - 1 for dims in (2, 3)] == [8, 26]
