"""TAO image classification spec files on modern PyTorch."""
