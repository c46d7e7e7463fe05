"""Understanding what was transferred: pure functions of arrays."""
