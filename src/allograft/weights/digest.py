"""Digest: the identity of tensors, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["state_hash", "tensor_hash"]


def tensor_hash(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's type, shape and bytes; -0.0 and 0.0 differ.

    >>> tensor_hash(torch.zeros(2)) == tensor_hash(-torch.zeros(2))
    False
    """
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, whatever their order (key of the feature cache)."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}\0{tensor_hash(state[name])}\n".encode())
    return digest.hexdigest()
