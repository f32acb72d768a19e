"""Data sets: reading, decoding, batching, augmentation."""
