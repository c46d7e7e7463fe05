"""Slice heads: a volume is judged slice by slice, and the slices' votes are pooled over depth.

"slice_mean"       mean of the slices' probabilities, given as logits
"slice_max"        largest logit of any slice: the most suspicious one decides
"slice_attention"  gated attention over the slices' features, sum_d a_d h_d with
                   a = softmax_d w^T(tanh(V h_d) * sigmoid(U h_d))
                   (Ilse, Tomczak, Welling. Attention-based deep MIL. 2018. arXiv:1802.04712; 128 hidden units)

The mean of the slices' logits is not among them: of a linear head it is the global mean, net.pool: mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.core.task import Kind
from allograft.nets.network import SliceHead
from allograft.nets.spec import Pooling

__all__ = ["PooledSlices"]

HIDDEN = 128
"""Hidden units of the attention (the paper's)."""


class PooledSlices(SliceHead):
    """Logits of a volume from the features of its slices; weights start N(0, 0.01), bias 0, as a linear head's.

    Args:
        features: width F of a slice's features.
        outputs: number of logits O.
        pool: "slice_mean", "slice_max" or "slice_attention".
        kind: of the task; says what a logit's probability is.
        dropout: probability of dropping a feature in training, in [0, 1).

    Raises:
        ConfigError: the pooling says nothing new for this kind of task.
    """

    def __init__(self, features: int, outputs: int, *, pool: Pooling, kind: Kind, dropout: float = 0.0) -> None:
        super().__init__()
        if pool == "slice_mean" and kind == "regression":
            msg = 'net.pool: the mean of slice values is the global mean of a regression. Use pool: "mean".'
            raise ConfigError(msg)
        self.pool, self.exclusive = pool, kind == "multiclass"
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, outputs)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        if pool == "slice_attention":
            self.value, self.gate = nn.Linear(features, HIDDEN), nn.Linear(features, HIDDEN)
            self.score = nn.Linear(HIDDEN, 1)

    def weights(self, slices: Tensor) -> Tensor:
        """Return the attention (B, D) that each slice of (B, F, D) gets; rows sum to 1."""
        h = slices.transpose(1, 2)
        hidden = self.value(h).tanh() * self.gate(h).sigmoid()
        found: Tensor = self.score(hidden).squeeze(2).softmax(dim=1)
        return found

    def over_slices(self, slices: Tensor) -> Tensor:
        """Return logits (B, O) for slice features (B, F, D)."""
        if self.pool == "slice_attention":
            attended = (slices * self.weights(slices)[:, None]).sum(2)
            found: Tensor = self.linear(self.dropout(attended))
            return found
        logits = self.linear(self.dropout(slices.transpose(1, 2)))  # (B, D, O)
        if self.pool == "slice_max":
            largest: Tensor = logits.amax(1)
            return largest
        if self.exclusive:
            return _mean_of_exp(logits.log_softmax(2))
        return _mean_of_exp(nn.functional.logsigmoid(logits)) - _mean_of_exp(nn.functional.logsigmoid(-logits))


def _mean_of_exp(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean over depth of exp(logs), (B, D, O) to (B, O)."""
    return logs.logsumexp(1) - torch.log(torch.tensor(float(logs.shape[1]), device=logs.device))
