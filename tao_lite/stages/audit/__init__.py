"""Which labels of a data set are probably wrong, as a list and as a page to look through."""
