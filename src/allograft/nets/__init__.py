"""One architecture per file; 2-D and 3-D are one code path."""
