"""Structured pruning: who is coupled, who goes, and the cut."""
