"""Recipes compared on the same folds with paired seeds."""
