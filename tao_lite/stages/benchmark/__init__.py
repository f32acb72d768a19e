"""The same spec trained in several settings."""
