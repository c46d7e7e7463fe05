"""WSVM: many samples of other scanners count for less than the few of one's own.

Idea      Train on both; an error on a sample of the source costs a share of what one on the target costs.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. Transfer learning improves supervised image segmentation across
          imaging protocols. IEEE Transactions on Medical Imaging 2015.  doi:10.1109/TMI.2014.2366792
Formula   min_v |v|^2 / 2 + C sum_i w_i max(0, 1 - y_i f(x_i)),   w_i = 1 on the target, w in (0, 1] on the source
Defaults  source_weight = None: chosen among `candidates` by cross-validation on the target's samples (ours).
Differs   Which candidates are tried is ours.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import StratifiedKFold

from allograft.shallow.kernel_svm import Array, Codes, KernelSVM, Mask, TransferSVM

__all__ = ["WeightedSVM"]


class WeightedSVM(TransferSVM):
    """A kernel SVM whose source samples have one weight of their own.

    Args:
        source_weight: in (0, 1]; None chooses it.
        candidates: weights to choose from; of equally good ones the first.
        folds: of the choice, fewer where a class of the target has fewer samples; without 2 the first candidate.
        svm: the machine; None takes `KernelSVM()`.

    Attributes:
        source_weight_: the weight that was used.
    """

    def __init__(
        self,
        svm: KernelSVM | None = None,
        *,
        source_weight: float | None = None,
        candidates: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01),
        folds: int = 3,
    ) -> None:
        super().__init__(svm)
        self.source_weight = source_weight
        self.candidates = candidates
        self.folds = folds

    def _learn(self, x: Array, codes: Codes, weights: Array, own: Mask) -> None:
        self.source_weight_ = self._chosen(x, codes, weights, own) if self.source_weight is None else self.source_weight
        self.svm_ = self._machine().fit(x, codes, np.where(own, weights, self.source_weight_ * weights))

    def _chosen(self, x: Array, codes: Codes, weights: Array, own: Mask) -> float:
        """Return the candidate under which left-out samples of the target are classified best."""
        at = np.flatnonzero(own)
        folds = min(self.folds, int(np.unique(codes[at], return_counts=True)[1].min())) if len(at) else 0
        if folds < 2 or own.all():
            return float(self.candidates[0])
        right = np.zeros(len(self.candidates))
        for _, out in StratifiedKFold(folds, shuffle=True, random_state=0).split(at, codes[at]):
            kept = np.ones(len(x), dtype=bool)
            kept[at[out]] = False
            for i, weight in enumerate(self.candidates):
                svm = self._machine().fit(x[kept], codes[kept], np.where(own, weights, weight * weights)[kept])
                right[i] += float((svm.predict(x[at[out]]) == codes[at[out]]).sum())
        return float(self.candidates[int(right.argmax())])
