"""Honest statistics with numpy and scipy only."""
