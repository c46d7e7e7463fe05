"""File to Image and Geometry."""
