"""Classifiers of single voxels: the machines of `allograft.shallow` as settings of a study."""
