"""Objectives with a source and a target keep the contract, in every kind of task and dimension they claim."""

from __future__ import annotations

from typing import Any

import pytest

from allograft.core.errors import ConfigError
from allograft.objectives.cdan import CDAN
from allograft.objectives.dan import DAN
from allograft.objectives.dann import DANN
from allograft.objectives.deep_coral import DeepCORAL
from allograft.objectives.distant_feature_fusion import DistantFeatureFusion
from allograft.objectives.minimax_entropy import MinimaxEntropy
from allograft.testing.objectives import check_objective
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_task

CLASSES = ("multiclass", "binary", "multilabel", "segmentation")
OBJECTIVES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "dann": (DANN(hidden=8), (*CLASSES, "regression")),
    "dann, joint, logits": (DANN(hidden=8, joint_norm=True, level="logits"), (*CLASSES, "regression")),
    "dann, deepest": (DANN(hidden=8, level="deepest"), ("multiclass", "regression")),
    "dann, decoded": (DANN(hidden=8, level="decoded", positions=512), ("segmentation",)),
    "cdan": (CDAN(hidden=8), CLASSES),
    "cdan, random, plain": (CDAN(hidden=8, largest=4, random=16, entropy=False), CLASSES),
    "cdan, deepest": (CDAN(hidden=8, level="deepest"), ("multilabel", "segmentation")),
    "cdan, pooled": (CDAN(hidden=8, level="pooled"), ("segmentation",)),
    "dan": (DAN(), (*CLASSES, "regression")),
    "dan, biased, joint": (DAN(unbiased=False, joint_norm=True, gamma=0), (*CLASSES, "regression")),
    "coral": (DeepCORAL(), (*CLASSES, "regression")),
    "coral, logits": (DeepCORAL(level="logits", ramp=0), (*CLASSES, "regression")),
    "mme": (MinimaxEntropy(), CLASSES),
    "mme, ramped": (MinimaxEntropy(gamma=5, joint_norm=True), CLASSES),
    "dff": (DistantFeatureFusion(), (*CLASSES, "regression")),
    "dff, two": (DistantFeatureFusion(on=("cats", "chest"), joint_norm=True), ("multiclass", "segmentation")),
}
EACH = [(name, dims, kind) for name, (_, kinds) in OBJECTIVES.items() for dims in (2, 3) for kind in kinds]


@pytest.mark.parametrize(("name", "dims", "kind"), EACH)
def test_two_domain_objectives_keep_the_contract_on_synthetic_batches(name: str, dims: int, kind: Any) -> None:
    check_objective(OBJECTIVES[name][0], dims, task=tiny_task(kind))


@pytest.mark.parametrize("objective", [CDAN(), MinimaxEntropy()])
def test_what_needs_classes_refuses_a_regression(objective: Any) -> None:
    with pytest.raises(ConfigError, match="regression has none"):
        objective.build({"net": tiny_net(2, outputs=1)}, tiny_task("regression"))


@pytest.mark.parametrize("objective", [DANN, CDAN, DAN, DeepCORAL])
def test_decoded_features_without_a_decoder_are_refused(objective: Any) -> None:
    with pytest.raises(ConfigError, match="this network has none"):
        objective(level="decoded").build({"net": tiny_net(2, outputs=3)}, tiny_task())
