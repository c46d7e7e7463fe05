"""One public data set per file: licence, hashes, expected counts."""
