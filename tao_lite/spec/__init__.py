"""Spec files: parsing, rules and the resolved spec."""
