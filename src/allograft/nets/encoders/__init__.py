"""Encoders: our own, and adapters."""
