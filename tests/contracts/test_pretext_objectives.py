"""Every pretext task of the house keeps the contract, in 2-D and 3-D; and each check of the contract can say no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch

from allograft.catalog.registry import OBJECTIVES
from allograft.contracts import HOUSE, Criterion, Loss, Method, StreamSpec
from allograft.objectives.barlow_twins import BarlowTwins
from allograft.objectives.byol import BYOL
from allograft.objectives.cpc import CPC
from allograft.objectives.dino import DINO
from allograft.objectives.exemplar import Exemplar
from allograft.objectives.gan import GAN
from allograft.objectives.jigsaw import Jigsaw
from allograft.objectives.masked_autoencoder import MaskedAutoencoder
from allograft.objectives.moco_v2 import MoCoV2
from allograft.objectives.models_genesis import ModelsGenesis
from allograft.objectives.patient_pairs import PatientPairs
from allograft.objectives.pretext import IMAGES, Pretext, images
from allograft.objectives.relative_patch_location import RelativePatchLocation
from allograft.objectives.rotation import Rotation
from allograft.objectives.simclr import SimCLR
from allograft.objectives.simsiam import SimSiam
from allograft.objectives.swav import SwAV
from allograft.objectives.vicreg import VICReg
from allograft.testing.pretexts import check_pretext

SMALL = {"hidden": 12, "output": 8}
PRETEXTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rotation": (Rotation(), {}),
    "relative_patch_location": (RelativePatchLocation(hidden=8), {"size": 16}),
    "jigsaw": (Jigsaw(permutations=5, hidden=8), {"size": 16}),
    "cpc": (CPC(per_side=3, code=6, context=7), {"size": 16}),
    "cpc, one negative": (CPC(per_side=2, code=6, context=7, loss="binary"), {"size": 12}),
    "exemplar": (Exemplar(output=8), {}),
    "models_genesis": (ModelsGenesis(width=8, windows=3), {}),
    "masked_autoencoder": (MaskedAutoencoder(width=8), {}),
    "masked_autoencoder, plain goal": (MaskedAutoencoder(width=8, per_block=False, block=4), {}),
    "simclr": (SimCLR(**SMALL), {}),
    "simclr, all negatives": (SimCLR(**SMALL, patients="negatives"), {}),
    "moco_v2": (MoCoV2(**SMALL, queue=16, momentum=0.9), {}),
    "byol": (BYOL(**SMALL, momentum=0.9), {}),
    "simsiam": (SimSiam(**SMALL, bottleneck=4), {}),
    "barlow_twins": (BarlowTwins(**SMALL), {}),
    "vicreg": (VICReg(**SMALL), {}),
    "swav": (SwAV(**SMALL, prototypes=5), {}),
    "dino": (DINO(**SMALL, bottleneck=6), {}),
    "dino, norms in the head": (DINO(**SMALL, bottleneck=6, norm=True), {}),
    "dino, teacher handed on": (DINO(**SMALL, bottleneck=6, hand_on="teacher"), {}),
    "gan": (GAN(width=4, noise=4, levels=2), {}),
    "patient_pairs": (PatientPairs(**SMALL), {}),
}
"""Each pretext task with small settings, and what `check_pretext` is to be told of it."""


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", PRETEXTS)
def test_pretext_tasks_keep_the_contract_on_synthetic_images(name: str, dims: int) -> None:
    objective, how = PRETEXTS[name]
    check_pretext(objective, dims, **how)


def test_every_pretext_task_of_the_catalog_is_tried() -> None:
    known = {name for name, kind in OBJECTIVES.items() if isinstance(kind(), Pretext)}
    assert known == {objective.name for objective, _ in PRETEXTS.values()}


class _Faulty(Method):
    """A pretext task with one fault."""

    name: ClassVar[str] = "faulty"
    paper: ClassVar = HOUSE
    fault: str = ""

    def streams(self) -> Mapping[str, StreamSpec]:
        if self.fault == "labels":
            return {IMAGES: StreamSpec(IMAGES, pixels=True)}
        if self.fault == "role":
            return {IMAGES: StreamSpec("train", labelled=False, pixels=True)}
        return images()

    def tasks(self, dims: int) -> Mapping[str, Any]:
        return {}

    def build(self, nets: Mapping[str, Any], task: Any) -> Criterion:
        return _FaultyCriterion(self.fault)


class _FaultyCriterion(Criterion):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.calls = fault, 0
        self.scale = torch.nn.Linear(8, 2)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, nets: Any, batch: Any, at: Any, player: str) -> Loss:
        given, net = batch[IMAGES], nets["net"]
        pooled = net(given.image).pooled
        if self.fault == "detached":
            pooled = pooled.detach()
        said = self.scale(pooled.detach() if self.fault == "idle" else pooled)
        total = (said if self.fault == "half" else said.float()).square().mean()
        if self.fault == "idle":
            total = total.detach() + pooled.square().mean()
        self.calls += 1
        if self.fault == "hidden state":
            total = total * (1 + self.calls)
        if self.fault == "judging":
            self.count += 1
        if self.fault == "targets" and given.targets:
            total = total * 2
        if self.fault == "nan":
            total = total / 0 * 0
        return Loss(total, {"part": total if self.fault == "graph" else total.detach()})

    def pictures(self, nets: Any, batch: Any) -> Mapping[str, torch.Tensor]:
        image = batch[IMAGES].image
        return {"image": image.mean(1) if self.fault == "pictures" else image}


FAULTS = {
    "labels": "asks for labels",
    "role": 'reads the role "train"',
    "detached": "no loss reaches the encoder",
    "idle": "ask for a gradient and get none",
    "hidden state": "differs after a stop",
    "judging": "changes",
    "targets": "targets reach the loss",
    "nan": "the loss is nan",
    "graph": "keep the graph",
    "half": "made in torch.bfloat16",
    "pictures": "not \\(B, C",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_contract_refuses_a_faulty_pretext_task(fault: str) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_pretext(_Faulty(fault=fault), 2)


def test_the_contract_accepts_the_same_task_without_fault() -> None:
    check_pretext(_Faulty(), 2)
