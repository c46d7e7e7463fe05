"""One transform per file: draw, then apply."""
