"""A search for better values of fields: trials, each a training, of which only the promising are trained on."""
