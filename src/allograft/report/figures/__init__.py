"""Figures of the report, one a file: plain numbers in, inline SVG out."""
