"""Results in, one self-contained HTML file out; no torch."""
