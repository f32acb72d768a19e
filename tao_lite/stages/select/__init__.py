"""The images that are worth a person's time, of those that inference has seen."""
