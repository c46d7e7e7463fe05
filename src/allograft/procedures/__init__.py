"""METHODS 3: in what order stages follow."""
