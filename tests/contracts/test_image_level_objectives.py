"""Objectives that change source images keep the contract, in every kind of task and dimension."""

from __future__ import annotations

from typing import Any

import pytest

from allograft.objectives.cycle_gan import CycleGAN
from allograft.objectives.fourier_adaptation import FourierAdaptation
from allograft.objectives.histogram_matching import HistogramMatching
from allograft.objectives.nyul import Nyul
from allograft.objectives.pix2pix import Pix2Pix
from allograft.testing.objectives import check_objective
from allograft.testing.training import tiny_task

SMALL = {"width": 2, "critic_width": 2, "depth": 1}
OBJECTIVES: dict[str, Any] = {
    "FDA": FourierAdaptation(beta=0.2, begin=0),
    "histogram matching": HistogramMatching(),
    "Nyul": Nyul(foreground=True),
    "CycleGAN": CycleGAN(**SMALL, blocks=1, pool=5, plain=0),
    "CycleGAN as in the paper": CycleGAN(**SMALL, blocks=1, residual=False, identity=0, pool=0),
    "pix2pix": Pix2Pix(**SMALL, levels=2, plain=0),
}
KINDS = [(2, "multiclass"), (2, "binary"), (2, "multilabel"), (2, "segmentation"), (3, "segmentation"), (3, "binary")]


@pytest.mark.parametrize(("dims", "kind"), KINDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_image_level_objectives_keep_the_contract_on_synthetic_batches(name: str, dims: int, kind: Any) -> None:
    check_objective(OBJECTIVES[name], dims, task=tiny_task(kind), order_matters=True)
