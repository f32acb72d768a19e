"""Networks: architectures, freezing and weights."""
