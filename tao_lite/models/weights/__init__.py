"""Where weights come from, and which tensor they fill."""
