"""KLIEP: the head is fitted on source cases weighted by a density ratio of greatest target likelihood.

Idea      The ratio of target to source density, modelled as a sum of kernels, says how much a source case counts; the
          kernels' width is the one under which left-out target cases are likeliest.
Paper     Sugiyama, Nakajima, Kashima, von Buenau, Kawanabe. Direct importance estimation with model selection and its
          application to covariate shift adaptation. NIPS 2007.
Formula   w(x) = sum_l a_l k(x, c_l), a >= 0;  max_a mean_t log w(x_t), mean_s w(x_s) = 1;
          then min sum_i w(x_i) loss(x_i, y_i) + |v|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  gamma = chosen by likelihood among eight widths (ours).  centres = 100 (paper).  folds = 5 (ours).
          strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder), z-scored over source and target.
          2. The classifier is a logistic regression whose C the source's validation chooses; it is written into the
             network's linear head. Labelled target cases, where there are some, weigh 1.
          3. Newton steps on the mixture's likelihood in place of gradient ascent; in cross-validation no left-out case
             is a centre.
Checked   tests/reference/test_kliep.py: worked values of twelve samples; SciPy's SLSQP; source = target gives weights
          near 1; the width of greatest left-out likelihood is taken; a known ratio is found.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_weights
from allograft.shallow.kliep import KLIEP
from allograft.shallow.logistic import GRID

__all__ = ["KLIEPTransfer"]


class KLIEPTransfer(Method):
    """Weigh source cases by a density ratio fitted to the target; see `allograft.shallow.kliep.KLIEP`.

    Args:
        gamma: of the Gaussian kernels, > 0; None lets cross-validation on the target choose.
        centres: target cases at which kernels stand, at most.
        folds: of the cross-validation.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "kliep"
    paper: ClassVar[Reference] = Reference(
        title="Direct importance estimation with model selection and its application to covariate shift adaptation",
        authors=("Sugiyama", "Nakajima", "Kashima", "von Bünau", "Kawanabe"),
        year=2007,
        venue="NIPS",
    )

    gamma: float | None = Field(default=None, gt=0)
    centres: int = Field(default=100, ge=1)
    folds: int = Field(default=5, ge=2)
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", weigh its cases, and return the network with the weighted head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            NumericsError: a target case lies so far from all others that no width reaches it.
            DataError: a class has no labelled case.
        """
        seed = lab.seed("kliep") % 2**32
        weighter = KLIEP(self.gamma, centres=self.centres, folds=self.folds, random_state=seed)
        return by_weights(Asking(lab, self.name, self.strengths), weighter)
