"""How the entries of a plan learn."""
