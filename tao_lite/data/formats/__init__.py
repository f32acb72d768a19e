"""Who reads what: a file for each format, and the table of them."""
