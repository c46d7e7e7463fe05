"""Methods that compare looks at images: two processes with half a batch each learn what one learns from the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_process_looks import METHODS

from allograft.functional.all_processes import of_all_processes
from started_processes import run_processes

SCRIPT = Path(__file__).with_name("two_process_looks.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return all tensors of one process with the whole batches, and of two with halves."""
    folder = tmp_path_factory.mktemp("processes")
    return [load_file(path) for world in (1, 2) for path in run_processes(SCRIPT, folder, world)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [method.name for method in METHODS])
def test_two_processes_with_half_batches_of_synthetic_images_equal_one_with_the_whole(found, name):
    alone, first, second = ({k: v for k, v in one.items() if k.startswith(f"{name}.")} for one in found)
    assert len(alone) > 10
    for key, tensor in alone.items():
        torch.testing.assert_close(first[key], tensor, rtol=0, atol=2e-6, msg=key)
        assert torch.equal(second[key], first[key]), f"{key} differs between processes"


def test_alone_rows_are_handed_back_themselves():
    rows = torch.ones(2, 3, requires_grad=True)
    assert of_all_processes(rows) is rows
