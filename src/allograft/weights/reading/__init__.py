"""Files of weights, opened as data: nothing that they hold is run."""
