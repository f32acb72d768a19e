"""What a run shows: console, TensorBoard, CSV, pictures."""
