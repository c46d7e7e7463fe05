"""Pages that are looked at in a browser, beside the report."""
