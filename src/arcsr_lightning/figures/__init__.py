"""Pictures: kernels, offsets, the panel of a test, the walk through one photograph."""
