"""From disk to Batch."""
