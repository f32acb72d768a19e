"""Networks of several sizes made of one, and of them the smallest that keeps the accuracy."""
