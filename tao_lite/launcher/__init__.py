"""A stage in a container: paths, user, devices, limits. No torch."""
