"""METHODS 3b: which unlabelled cases to ask for next, one file each."""
