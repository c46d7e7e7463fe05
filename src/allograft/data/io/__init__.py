"""From a file to pixels with their place in the world."""
