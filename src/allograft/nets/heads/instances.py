"""Instance heads: an image is judged by the parts of it that a network sees one by one, slices or tiles.

An image is a bag of K instances. At the level of embeddings their features are pooled and judged once; at the level
of instances each is judged and the judgements are pooled. The formulas are in nets/mil_pooling.py.

"attention"        embedding: sum_k a_k h_k, a = softmax_k w^T tanh(V h_k); instance: the mean of the instances'
                   probabilities with the same weights
"gated_attention"  likewise, a = softmax_k w^T(tanh(V h_k) * sigmoid(U h_k))
                   (Ilse, Tomczak, Welling. Attention-based deep MIL. 2018. arXiv:1802.04712; 128 hidden units)
"mean"             of the features, or of the instances' probabilities, given as logits
"max"              of each feature, or the largest logit of any instance: the most suspicious one decides
"lse", "top_k"     of each feature, or of the instances' logits
"noisy_or"         of the instances' probabilities; of yes/no classes only
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.core.task import Kind
from allograft.nets.mil_pooling import attention_weights, log_mean, lse, maximum, mean, noisy_or, top_k, weighted
from allograft.nets.network import InstanceHead

__all__ = ["HIDDEN", "BagPool", "Pooled", "PooledInstances"]

HIDDEN = 128
"""Hidden units of the attention (the paper's)."""

BagPool = Literal["attention", "gated_attention", "max", "mean", "lse", "noisy_or", "top_k"]


class Pooled(NamedTuple):
    """How instances become one judgement.

    Args:
        how: the pooling.
        level: what is pooled, features ("embedding") or judgements ("instance").
        r: sharpness of "lse", > 0.
        k: instances that "top_k" counts, >= 1.
    """

    how: BagPool
    level: Literal["embedding", "instance"]
    r: float = 1.0
    k: int = 3


class PooledInstances(InstanceHead):
    """Logits of an image from the features of its instances; weights start N(0, 0.01), bias 0, as a linear head's.

    Args:
        features: width F of an instance's features.
        outputs: number of logits O.
        pool: how instances are pooled.
        kind: of the task; says what a logit's probability is.
        dropout: probability of dropping a feature in training, in [0, 1).

    Raises:
        ConfigError: the pooling says nothing, or nothing new, for this kind of task.
    """

    def __init__(self, features: int, outputs: int, *, pool: Pooled, kind: Kind, dropout: float = 0.0) -> None:
        super().__init__()
        _check(pool, kind)
        self.pool, self.kind = pool, kind
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, outputs)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        if self.attends:
            self.value = nn.Linear(features, HIDDEN)
            if pool.how == "gated_attention":
                self.gate = nn.Linear(features, HIDDEN)
            self.score = nn.Linear(HIDDEN, 1)

    @property
    def attends(self) -> bool:
        """Whether instances are weighed by attention."""
        return self.pool.how in {"attention", "gated_attention"}

    def weights(self, instances: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention (B, K) that each instance of (B, F, K) gets; rows sum to 1, absent instances get 0."""
        h = instances.transpose(1, 2)
        hidden = self.value(h).tanh()
        if self.pool.how == "gated_attention":
            hidden = hidden * self.gate(h).sigmoid()
        return attention_weights(self.score(hidden).squeeze(2), mask)

    def over_instances(self, instances: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits (B, O) for the features (B, F, K) of the instances that the mask (B, K) keeps."""
        weights = self.weights(instances, mask) if self.attends else None
        if self.pool.level == "embedding":
            found: Tensor = self.linear(self.dropout(self._pool(instances, weights, mask)))
            return found
        logits = self.linear(self.dropout(instances.transpose(1, 2))).transpose(1, 2)  # (B, O, K)
        if self.pool.how == "noisy_or":
            return noisy_or(logits, mask)
        if self.pool.how != "mean" and weights is None:
            return self._pool(logits, weights, mask)
        if self.kind == "multiclass":
            return log_mean(logits.log_softmax(1), weights, mask)
        yes, no = nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits)
        return log_mean(yes, weights, mask) - log_mean(no, weights, mask)

    def _pool(self, x: Tensor, weights: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return values (B, C, K) pooled over instances as they are."""
        if weights is not None:
            return weighted(x, weights)
        if self.pool.how == "lse":
            return lse(x, self.pool.r, mask)
        if self.pool.how == "top_k":
            return top_k(x, self.pool.k, mask)
        return maximum(x, mask) if self.pool.how == "max" else mean(x, mask)


def _check(pool: Pooled, kind: Kind) -> None:
    """Refuse a pooling of judgements that have no probabilities, or whose mean is that of the features."""
    if pool.how == "noisy_or" and (pool.level == "embedding" or kind not in {"binary", "multilabel"}):
        msg = (
            'net.pool: "noisy_or" joins the probabilities of yes/no classes, of instances: set bag.level: instance '
            f"in a binary or multilabel task; this is {kind}, level {pool.level}."
        )
        raise ConfigError(msg)
    if pool.level == "instance" and kind == "regression" and pool.how in {"mean", "attention", "gated_attention"}:
        msg = f'net.pool: the "{pool.how}" of instance values is the one of their features in a regression. '
        raise ConfigError(msg + 'Use level: embedding, or pool: "mean" over the whole image.')
