"""One way to open what others wrote, one way to write."""
