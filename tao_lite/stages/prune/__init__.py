"""Prune: how much, who goes, rounds, comparison."""
