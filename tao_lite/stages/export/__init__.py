"""ONNX, and what DeepStream needs beside it."""
