"""What is kept of decoded images: in memory, in a file, on the device."""
