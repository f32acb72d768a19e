"""What happens to a batch on the device: draws for each image, operations for all."""
