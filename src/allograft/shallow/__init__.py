"""Shallow transfer: classical estimators on arrays of features, one paper a file, without networks."""
