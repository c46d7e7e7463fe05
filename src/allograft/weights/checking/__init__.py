"""What a file of weights is, whether it is what was meant, and what would mend it."""
