"""The stages of an experiment; each is `stage(spec, run, ...) -> Summary`."""
