"""METHODS 1: how weights begin."""
