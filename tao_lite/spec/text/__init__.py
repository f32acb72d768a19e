"""Text format, JSON and YAML as trees with places; nothing here knows TAO."""
