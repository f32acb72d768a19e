"""Train, and retrain by spec: start or resume, epochs, checkpoints."""
