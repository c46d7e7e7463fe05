"""One metric per file; per-case values where they exist."""
