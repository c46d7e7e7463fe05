"""Transferability: which source promises most for a target, from features of the target without training."""
