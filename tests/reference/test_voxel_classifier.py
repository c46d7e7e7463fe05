"""VoxelClassifier: the network decides as scikit-learn's machines do; image weights; what is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from allograft.catalog import parts
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.heads.kernel_voxel import KernelVoxelHead
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.procedures.voxel_classifier import VoxelClassifier
from allograft.procedures.voxel_head import all_outputs, write_voxels
from allograft.shallow.kernel_learning import KernelLearning
from allograft.shallow.kernel_svm import KernelSVM
from allograft.shallow.tradaboost import TrAdaBoost
from allograft.testing.procedures import FakeLab

TWO, THREE = (Task(kind="segmentation", classes=names) for names in (("no", "yes"), ("a", "b", "c")))


def network(dims: int, task: Task) -> Network:
    spec = NetSpec(encoder="voxel_features:1", decoder="same", dims=dims, anchors=4)
    return build_network(spec, {task.head: task}, in_channels=1, seed=0, parts=parts(spec)).eval()


def synthetic_voxels(net: Network, dims: int, classes: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return an image, features (n, F) of each element and classes (n,) that depend on them."""
    image = torch.randn(1, 1, *(12, 11, 7)[:dims], generator=torch.Generator().manual_seed(0))
    x = net.encode(image)[-1][0].flatten(1).T.double().numpy()
    score = x[:, 1] + x[:, 2] * x[:, 0]
    return image, x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("kernel_map", ["exact", "nystroem", "fourier"])
@pytest.mark.parametrize("model", [None, TrAdaBoost, KernelLearning])
def test_the_network_decides_as_the_machine_does(dims: int, task: Task, kernel_map: Any, model: Any) -> None:
    net = network(dims, task)
    image, x, y = synthetic_voxels(net, dims, len(task.classes))
    centre, scale = x.mean(axis=0), x.std(axis=0)
    svm, z = KernelSVM(kernel_map=kernel_map, components=64), (x - centre) / scale
    fitted = (svm if model is None else model(svm)).fit(z[::5], y[::5])
    write_voxels(net, task.head, all_outputs(fitted.expansion(), fitted.classes_, len(task.classes)), centre, scale)
    again = network(dims, task)
    again.load_state_dict(net.state_dict())  # of other sizes than it was built with
    for each in (net, again):
        with torch.no_grad():
            logits = each(image).logits[task.head][0].flatten(1).T.numpy()
        decision = fitted.decision_function(z)
        expected = np.stack([-decision, decision], axis=1) / 2 if decision.ndim == 1 else decision
        near = np.isclose(logits, expected, atol=2e-3).all(axis=1)
        assert near.mean() > (0.97 if model is TrAdaBoost else 0.9999)  # a vote turns where a decision is 0
        assert (logits.argmax(axis=1) == fitted.predict(z)).mean() > 0.97


def test_classes_that_training_has_not_are_never_chosen() -> None:
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.repeat([0, 2], 30)
    for model in (KernelSVM(), TrAdaBoost(KernelSVM())):
        fitted = model.fit(x, y)
        head = KernelVoxelHead(2, 4, 1)
        net = Network(torch.nn.Identity(), {"label": head})
        write_voxels(net, "label", all_outputs(fitted.expansion(), fitted.classes_, 4), np.zeros(2), np.ones(2))
        logits = head(torch.zeros(1), torch.from_numpy(x.T.reshape(1, 2, 60, 1)).float())
        assert (logits[0, :, :, 0].argmax(0).numpy() == fitted.predict(x)).all()


def test_blocks_change_no_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(2, TWO)
    image, x, y = synthetic_voxels(net, 2, 2)
    write_voxels(net, "label", KernelSVM().fit(x, y).expansion(), np.zeros(4), np.ones(4))
    whole = net(image).logits["label"]
    monkeypatch.setattr("allograft.nets.heads.kernel_voxel.BLOCK", 300)
    assert torch.allclose(net(image).logits["label"], whole, atol=1e-5)


def test_the_source_image_that_is_like_the_target_gets_the_weight() -> None:
    lab = FakeLab(2, task=TWO)
    first = lab.cohorts["train"].ids[0]
    plain = lab.elements

    def looks_like(net: Network, cohort: Any, **how: Any) -> Any:
        """Give the target the looks of the first training case, and the others another one."""
        got = plain(net, cohort, **how)
        if cohort.ids[0] == lab.cohorts["target"].ids[0]:
            return got._replace(features=got.features + 5)
        like = np.array([name == first for name in cohort.ids])[got.cases]
        return got._replace(features=got.features + 5 * like[:, None])

    lab.elements = looks_like  # type: ignore[method-assign]
    VoxelClassifier(weights="mmd", per_image=20, seen=300).run(lab)
    weights = next(facts["weights"] for stage, facts in lab.reports if stage == "image weights")
    assert weights[0] > 0.9
    assert sum(weights) == pytest.approx(1)


def test_target_cases_are_read_without_labels_and_only_where_something_needs_them() -> None:
    for settings, reads in (({}, False), ({"weights": "kl"}, True), ({"model": "kernel_learning"}, True)):
        lab = FakeLab(2, task=TWO)
        seen: list[Any] = []
        plain = lab.elements

        def watched(net: Network, cohort: Any, plain: Any = plain, seen: Any = seen, **how: Any) -> Any:
            seen.append(cohort)
            return plain(net, cohort, **how)

        lab.elements = watched  # type: ignore[method-assign]
        VoxelClassifier(**settings, per_image=10, seen=20, components=8).run(lab)
        target = [cohort for cohort in seen if set(cohort.ids) & set(lab.cohorts["target"].ids)]
        assert bool(target) == reads
        assert not any(case.targets for cohort in target for case in cohort)
        assert ("target" in lab.asked[0].ids) == reads


def test_what_it_cannot_do_is_said_before_anything_is_drawn() -> None:
    with pytest.raises(ConfigError, match="labels elements of a segmentation"):
        VoxelClassifier().run(FakeLab(2))
    lab = FakeLab(2, task=TWO)
    lab.cohorts = {"train": lab.cohorts["train"], "val": lab.cohorts["val"]}
    VoxelClassifier(per_image=10, components=8).run(lab)
    with pytest.raises(ConfigError, match="this study has none"):
        VoxelClassifier(weights="kl").run(lab)
