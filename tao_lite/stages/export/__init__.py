"""ONNX, packages for a runtime, and what says where they are from."""
