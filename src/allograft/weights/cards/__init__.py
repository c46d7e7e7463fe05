"""One YAML card per public checkpoint."""
