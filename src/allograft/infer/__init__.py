"""From a run to predictions."""
