"""Shallow procedures end in a network that says what scikit-learn says: KMMTransfer, KLIEPTransfer, RatioTransfer,
TCATransfer, SubspaceTransfer and CORALTransfer on synthetic images of two sites, in 2-D and 3-D, two and three classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from allograft.contracts import Lab, Procedure
from allograft.core.errors import ConfigError, DataError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.infer.features import image_features
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.procedures.coral import CORALTransfer
from allograft.procedures.discriminative_ratio import RatioTransfer
from allograft.procedures.kliep import KLIEPTransfer
from allograft.procedures.kmm import KMMTransfer
from allograft.procedures.subspace_alignment import SubspaceTransfer
from allograft.procedures.tca import TCATransfer
from allograft.shallow.coral import CORAL
from allograft.shallow.domains import effective_sample_size
from allograft.shallow.kliep import KLIEP
from allograft.shallow.kmm import KMM
from allograft.shallow.subspace_alignment import SubspaceAlignment
from allograft.shallow.tca import TCA
from allograft.testing.procedures import FakeLab

ONE = (0.1,)
"""A single strength, so that nothing is left to chance."""

PROCEDURES: list[Procedure] = [
    KMMTransfer(bound=1.5, epsilon=0.1, strengths=ONE),
    KLIEPTransfer(gamma=0.1, strengths=ONE),
    RatioTransfer(folds=3, strengths=ONE),
    TCATransfer(components=3, gamma=0.1, strengths=ONE),
    SubspaceTransfer(components=3, strengths=ONE),
    SubspaceTransfer(components=3, apart=False, strengths=ONE),
    CORALTransfer(strengths=ONE),
    CORALTransfer(apart=False, strengths=ONE),
]


def cohort(role: str, size: int, classes: int, *, site: str, labelled: bool = True) -> Cohort:
    task = Task(kind="binary" if classes == 2 else "multiclass", classes=("a", "b", "c")[:classes])
    cases = tuple(
        Case(
            id=f"{role}-{i}",
            image=(),
            group=f"{role}-{i}",
            domain=site,
            targets={"label": i % classes} if labelled else {},
        )
        for i in range(size)
    )
    return Cohort(name="synthetic", task=task, cases=cases)


@dataclass
class ImageLab(FakeLab):
    """A lab with synthetic images: the class is the contrast of noise, which the second site lowers to 0.4."""

    classes: int = 2
    started: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cohorts = {
            "train": cohort("train", 36, self.classes, site="one"),
            "val": cohort("val", 18, self.classes, site="one"),
            "target": cohort("target", 24, self.classes, site="two", labelled=False),
        }
        self.task = self.cohorts["train"].task

    def start(self, **settings: Any) -> Any:
        self.started.append(settings)
        return super().start(**settings)

    def images(self, cases: Cohort) -> torch.Tensor:
        return torch.stack([self._image(case) for case in cases])

    def _image(self, case: Case) -> torch.Tensor:
        rng, kind = np.random.default_rng(seed_for("image", case.id)), int(case.id.rsplit("-", 1)[1]) % self.classes
        image = rng.normal(size=(3, *[8] * self.dims)) * (1 + kind)
        return torch.from_numpy(0.4 * image if case.domain == "two" else image).float()

    def features(self, net: Network, cohort: Cohort, level: int = -1) -> npt.NDArray[np.float32]:
        return image_features(net, [self.images(cohort)], level)

    def said(self, net: Network, cases: Cohort) -> npt.NDArray[np.float64]:
        """Return what the network says: the probability of each class."""
        net.eval()
        with torch.no_grad():
            logits = net(self.images(cases)).logits["label"].double()
        yes = logits.sigmoid()
        return (torch.cat([1 - yes, yes], 1) if self.classes == 2 else logits.softmax(1)).numpy()


def expected(procedure: Any, lab: ImageLab, asked: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return scikit-learn's probabilities of the asked features, as each paper's recipe is written down."""
    net = lab.done["source"]
    source, target = (lab.features(net, lab.cohorts[role]).astype(np.float64) for role in ("train", "target"))
    labels = [case.targets["label"] for case in lab.cohorts["train"]]
    both = StandardScaler().fit(np.concatenate([source, target]))
    here = there = both
    if getattr(procedure, "apart", False):
        here, there = StandardScaler().fit(source), StandardScaler().fit(target)
    xs, xt, new = here.transform(source), there.transform(target), there.transform(asked)
    weights = None
    if isinstance(procedure, KMMTransfer):
        weights = KMM(bound=1.5, epsilon=0.1).fit(xs, xt).weights_
    elif isinstance(procedure, KLIEPTransfer):
        weights = KLIEP(0.1).fit(xs, xt).weights_
    elif isinstance(procedure, RatioTransfer):
        weights = ratio(lab, xs, xt)
    else:
        mapper: Any = TCA(3, gamma=0.1)
        if isinstance(procedure, SubspaceTransfer):
            mapper = SubspaceAlignment(3)
        elif isinstance(procedure, CORALTransfer):
            mapper = CORAL(centre=not procedure.apart)
        mapper.fit(xs, xt)
        xs, new = mapper.transform_source(xs), mapper.transform_target(new)
    scaled = None if weights is None else weights / weights.mean()
    model = LogisticRegression(C=0.1, tol=1e-9, max_iter=10_000).fit(xs, labels, sample_weight=scaled)
    return np.asarray(model.predict_proba(new))


def ratio(lab: ImageLab, xs: npt.NDArray[Any], xt: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    from allograft.shallow.discriminative_ratio import DiscriminativeRatio

    return DiscriminativeRatio(folds=3, random_state=lab.seed("discriminative_ratio") % 2**32).fit(xs, xt).weights_


def run(procedure: Procedure, lab: FakeLab) -> Network:
    return procedure.run(cast("Lab", lab))


def named(procedure: Any) -> str:
    return procedure.name + ("-joint" if getattr(procedure, "apart", True) is False else "")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("procedure", PROCEDURES, ids=named)
def test_the_network_says_what_scikit_learn_says_on_synthetic_images(
    procedure: Procedure, classes: int, dims: int
) -> None:
    lab = ImageLab(dims, classes=classes)
    net = run(procedure, lab)
    new = cohort("new", 20, classes, site="two")
    true = expected(procedure, lab, lab.features(net, new))
    assert lab.said(net, new) == pytest.approx(true, abs=1e-5)
    assert np.ptp(true[:, 0]) > 0.01, "the probabilities differ from case to case"
    facts = dict(lab.reports)["adaptation"]
    assert (facts["source"], facts["target"], facts["strength"]) == (36, 24, 0.1)


@pytest.mark.parametrize("procedure", PROCEDURES, ids=named)
def test_labels_of_the_target_are_never_read(procedure: Procedure) -> None:
    """Poisoned: were they read, other labels would give another network."""
    plain, poisoned = ImageLab(2), ImageLab(2)
    target = poisoned.cohorts["target"]
    poisoned.cohorts = {**poisoned.cohorts, "target": target.with_targets({n: {"label": 1} for n in target.ids})}
    one, two = (run(procedure, lab).state_dict() for lab in (plain, poisoned))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_weights_are_told() -> None:
    lab = ImageLab(2)
    run(KMMTransfer(bound=1.5, epsilon=0.1), lab)
    facts = dict(lab.reports)["adaptation"]
    assert 1 <= cast("float", facts["effective_sample_size"]) <= 36
    assert cast("float", facts["mmd_after"]) < cast("float", facts["mmd_before"])
    few = ImageLab(2)
    run(KLIEPTransfer(gamma=100.0), few)
    facts = dict(few.reports)["adaptation"]
    assert cast("float", facts["effective_sample_size"]) < 3.6
    assert "36 source cases weigh as much as" in str(facts["note"])


def test_few_labelled_target_cases_weigh_one_and_go_through_the_targets_map() -> None:
    labels = cohort("few", 6, 2, site="two")
    for procedure in (KMMTransfer(bound=1.5, epsilon=0.1), CORALTransfer(), TCATransfer(components=3)):
        plain, more = ImageLab(2), ImageLab(2)
        train = more.cohorts["train"]
        more.cohorts = {**more.cohorts, "train": replace(train, cases=(*train.cases, *labels.cases))}
        one, two = run(procedure, plain), run(procedure, more)
        assert dict(more.reports)["adaptation"]["source"] == 36
        new = cohort("new", 20, 2, site="two")
        assert not np.allclose(plain.said(one, new), more.said(two, new), atol=1e-3)


def test_the_kernel_head_is_planned_and_the_linear_ones_keep_their_place() -> None:
    lab = ImageLab(2)
    net = run(TCATransfer(components=3, most=20), lab)
    assert lab.started[-1]["net"].anchors == len(net.get_buffer("heads.label.anchors")) == 20
    assert lab.started[-1]["start"].name == "full"
    encoder = lab.done["source"].encoder.state_dict()
    assert all(torch.equal(value, encoder[name]) for name, value in net.encoder.state_dict().items())
    same = run(CORALTransfer(), lab := ImageLab(2))
    assert same is lab.done["source"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"task": Task(kind="segmentation", classes=("no", "yes"))}, "voxel classifiers"),
        ({"task": Task(kind="regression", classes=("age",))}, "Use an objective"),
        ({"pool": "slice_max"}, "net.pool"),
        ({"cohorts": ("train", "val")}, "shift"),
        ({"learn": "target"}, "learn: source"),
    ],
    ids=str,
)
def test_what_cannot_be_adapted_is_refused_before_training(changed: dict[str, Any], says: str) -> None:
    lab: Any = ImageLab(3)
    if "task" in changed:
        lab.task = changed["task"]
    if "cohorts" in changed:
        lab.cohorts = {role: lab.cohorts[role] for role in changed["cohorts"]}
    if "learn" in changed:
        lab.cohorts = {**lab.cohorts, "train": cohort("few", 6, 2, site="two")}
    if "pool" in changed:
        lab = type("Sliced", (ImageLab,), {"net": NetSpec(encoder="tiny", dims=3, pool="slice_max")})(3)
    with pytest.raises(ConfigError, match=says):
        run(CORALTransfer(), lab)
    assert not lab.asked


def test_a_class_without_a_labelled_case_is_an_error() -> None:
    lab = ImageLab(2, classes=3)
    lab.cohorts = {**lab.cohorts, "train": lab.cohorts["train"].where(lambda case: case.targets["label"] != 2)}
    with pytest.raises(DataError, match='every labelled source case of class "c"'):
        run(RatioTransfer(folds=2), lab)


def test_a_shifted_site_loses_accuracy_and_coral_and_subspaces_win_some_back() -> None:
    """Synthetic: by the source's threshold of contrast all of the second site is one class."""
    new, right = cohort("new", 200, 2, site="two"), np.arange(200) % 2

    def accuracy(procedure: Procedure | None) -> float:
        lab = ImageLab(2)
        if procedure is None:
            net = run(RatioTransfer(folds=2, bound=1e-9, strengths=(0.1,)), lab)
        else:
            net = run(procedure, lab)
        return float((lab.said(net, new).argmax(1) == right).mean())

    source_only = accuracy(None)
    assert source_only < 0.75
    assert min(accuracy(p) for p in (CORALTransfer(), SubspaceTransfer())) > source_only + 0.1


def test_equal_domains_weigh_all_cases_alike() -> None:
    lab = ImageLab(2)
    train = lab.cohorts["train"]
    again = tuple(replace(case, domain="two", targets={}) for case in train)
    lab.cohorts = {**lab.cohorts, "target": replace(train, cases=again)}
    lab._image = lambda case: ImageLab._image(lab, replace(case, domain="one"))  # type: ignore[method-assign]
    run(KMMTransfer(), lab)
    assert dict(lab.reports)["adaptation"]["effective_sample_size"] > 35
    assert effective_sample_size(np.ones(36)) == 36
