"""Value types that everything else is built from; imports nothing of ours and no torch."""
