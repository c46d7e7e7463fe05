"""Voxel classification: every voxel is a sample of a kernel machine that is told where it may trust other scanners.

Idea      A voxel's own surroundings say what it is, and few images give many voxels. Machines that weigh training
          images by how much they look like the target, or that correct a classifier of other scanners on few voxels of
          one's own, need little data and no GPU.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. Transfer learning improves supervised image segmentation across
          imaging protocols. IEEE Transactions on Medical Imaging 2015.  doi:10.1109/TMI.2014.2366792;  image weights:
          van Opbroek, Vernooij, Ikram, de Bruijne. Medical Image Analysis 2015, and IEEE TMI 2019.
Formula   image weights min_w D(q, sum_m w_m p_m) on the simplex;  a voxel of image m weighs w_m / n_m;  then the model
Streams   none: voxels drawn from whole images of "train", of every class equally often, and unlabelled ones of "train"
          and "target".
Defaults  model = PlainSVM() (ours).  weights = "none" (ours).  per_image = 300 (ours).  seen = 5000 (ours).
          cost = 1 (ours).  gamma = "scale", 1 / F of standardised features (ours).  kernel_map = "nystroem" (ours; the
          paper's machine is exact).  components = 512 (ours).
Differs   1. The papers weigh images for each target image and train a classifier for it; here the weights are for all
          target training images together, so that one network is judged. 2. Features are standardised over the drawn
          training voxels. 3. The network's logits are the machine's decisions: no probabilities are fitted.
          4. Voxels are drawn from whole images; in prediction the rim of a window is continued by its own elements.
Checked   tests/reference/test_voxel_classifier.py: the network decides as the machine does, for every model and map;
          a source image that is like the target gets the weight; no target label is read.
"""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.errors import ConfigError, DataError
from allograft.core.named import Named
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.voxel_head import all_outputs, write_voxels
from allograft.procedures.voxel_models.svm import PlainSVM
from allograft.procedures.voxel_models.voxel_model import Array, VoxelModel, VoxelSamples
from allograft.procedures.voxel_models.wsvm import WSVM
from allograft.shallow.feature_map import KernelMap
from allograft.shallow.image_weighting import ImageWeighting
from allograft.shallow.kernel_svm import KernelSVM

__all__ = ["VoxelClassifier"]


class Drawn(NamedTuple):
    """Samples with how their features were standardised, the images' weights and a bound on their error."""

    samples: VoxelSamples
    centre: Array
    scale: Array
    weights: Array
    error: float


class VoxelClassifier(Method):
    """Classify voxels by their own features; the network's encoder gives these, for example voxel_features.

    Args:
        model: svm, wsvm, rsvm, asvm, tradaboost or kernel_learning.
        weights: how training images are weighted towards the target: "none", "kl", "bhattacharyya", "euclid" or "mmd".
        per_image: labelled voxels drawn from each training image, of every class equally often.
        seen: unlabelled voxels of each image that densities are estimated from.
        cost: C, > 0.
        gamma: of the Gaussian kernel on standardised features, > 0, or "scale".
        kernel_map: "exact", "nystroem" or "fourier".
        components: features of a map.
    """

    name: ClassVar[str] = "voxel_classifier"
    paper: ClassVar[Reference] = WSVM.paper

    model: Annotated[VoxelModel, Named("voxel_model")] = PlainSVM()
    weights: Literal["none", "kl", "bhattacharyya", "euclid", "mmd"] = "none"
    per_image: int = Field(default=300, ge=2)
    seen: int = Field(default=5000, ge=2)
    cost: float = Field(default=1.0, gt=0)
    gamma: float | Literal["scale"] = "scale"
    kernel_map: KernelMap = "nystroem"
    components: int = Field(default=512, ge=2)

    def run(self, lab: Lab) -> Network:
        """Draw voxels, fit, and return the network whose head decides as the classifier does.

        Raises:
            ConfigError: the task is no segmentation, the decoder changes the encoder's features, or the study has no
                target and one is needed.
            DataError: the training voxels have fewer than two classes, or a domain that the model needs is missing.
        """
        if lab.task.kind != "segmentation" or lab.net.decoder != "same":
            msg = (
                f"voxel_classifier labels elements of a segmentation by the encoder's own features; the task is a "
                f'{lab.task.kind}, the decoder "{lab.net.decoder}". Set net: {{encoder: voxel_features, decoder: '
                "same}."
            )
            raise ConfigError(msg)
        reads = self.weights != "none" or self.model.reads_target
        if reads and "target" not in lab.cohorts:
            msg = (
                f"voxel_classifier: model {self.model.name} with weights {self.weights} looks at unlabelled target "
                "cases, and this study has none. Give the data set a shift: {target: [SITE]}."
            )
            raise ConfigError(msg)
        started = lab.start(net=lab.net.model_copy(update={"anchors": self.components}))
        roles = ("train", "target") if reads else ("train",)
        return lab.fitted("voxels", started, lambda net: self._fit(lab, net), roles=roles)

    def _fit(self, lab: Lab, net: Network) -> None:
        drawn = self._drawn(lab, net)
        machine = KernelSVM(
            cost=self.cost,
            gamma=self.gamma,
            kernel_map=self.kernel_map,
            components=self.components,
            random_state=lab.seed("kernel map") % 2**32,
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = self.model.fit(drawn.samples, machine)
        expansion = all_outputs(found.expansion, found.classes, len(lab.task.classes))
        write_voxels(net, lab.task.head, expansion, drawn.centre, drawn.scale)
        facts = {"voxels": float(len(drawn.samples.x)), "points": float(len(expansion.points)), **found.facts}
        if self.weights != "none":
            facts |= {"weight_error": drawn.error}
            lab.report("image weights", {"weights": drawn.weights.tolist()})
        notes = "; ".join(dict.fromkeys(str(each.message) for each in said))
        lab.report("voxels", {**facts, **({"note": f"voxel_classifier: {notes}"} if notes else {})})

    def _drawn(self, lab: Lab, net: Network) -> Drawn:
        """Return standardised voxels with their weights."""
        train, target = lab.cohorts["train"], lab.cohorts.get("target")
        got = lab.elements(net, train, per_case=self.per_image, seed=lab.seed("voxels"))
        known = got.labels >= 0
        x, y, cases = got.features[known].astype(np.float64), got.labels[known], got.cases[known]
        if len(np.unique(y)) < 2:
            msg = f"voxel_classifier: the {len(y)} labelled voxels drawn are of one class. Check masks and classes."
            raise DataError(msg)
        centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        sites = {case.domain for case in target} if target is not None else {case.domain for case in train}
        own = np.array([case.domain in sites for case in train])[cases]
        x = (x - centre) / scale
        if target is None or not (self.weights != "none" or self.model.reads_target):
            none = VoxelSamples(x, y, cases, own, np.ones(len(x)), None, None)
            return Drawn(none, centre, scale, np.ones(len(train)), 0.0)
        aim = lab.elements(net, target, per_case=self.seen, seed=lab.seed("target voxels"))
        bare = lab.elements(net, train.without_targets(), per_case=self.seen, seed=lab.seed("image voxels"))
        rows, towards = (bare.features - centre) / scale, (aim.features - centre) / scale
        seen = tuple(rows[bare.cases == i] for i in range(len(train)))
        samples = VoxelSamples(x, y, cases, own, np.ones(len(x)), seen, towards)
        if self.weights == "none":
            return Drawn(samples, centre, scale, np.ones(len(train)), 0.0)
        how = ImageWeighting(self.weights, random_state=lab.seed("densities") % 2**32).fit(seen, towards)
        each = (how.weights_ / np.maximum(np.bincount(cases, minlength=len(train)), 1))[cases]
        weighted = samples._replace(weights=each * len(each) / each.sum())
        return Drawn(weighted, centre, scale, how.weights_, how.error_)
