"""METHODS 2: what a step minimises."""
