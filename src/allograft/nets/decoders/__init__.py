"""Decoders: levels to features of every element of the image."""
