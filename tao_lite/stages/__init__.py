"""The stages of an experiment, a folder or file for each command; each is `stage(spec, run, ...) -> Summary`."""
