"""Folds: each is held out of a training of its own; their figures and all predictions."""
