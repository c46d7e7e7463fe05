"""Transfer as data: what every tensor becomes is a table before it is a fact."""
