"""The loops and what a step needs: optimizer, precision, average, distillation, validation."""
