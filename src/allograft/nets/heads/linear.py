"""Linear head: one logit per output from the pooled features."""

from __future__ import annotations

from torch import Tensor, nn

from allograft.nets.network import Head

__all__ = ["LinearHead"]


class LinearHead(Head):
    """Dropout and one linear layer; weights start N(0, 0.01) (Hosseinzadeh Taher et al. 2021), bias 0.

    Args:
        features: width F of the pooled features.
        outputs: number of logits O.
        dropout: probability of dropping a feature in training, in [0, 1).
    """

    def __init__(self, features: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, outputs)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O) for pooled (B, F); `decoded` is not used."""
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits
