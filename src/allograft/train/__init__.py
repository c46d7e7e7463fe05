"""The loop, once."""
