"""Counts, calibration, precision-recall and mistakes of an evaluation."""
