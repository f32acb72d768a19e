"""INT8 files: calibrated, measured, and kept only where they are as good."""
