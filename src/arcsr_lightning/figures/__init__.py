"""Pictures: kernels, offsets, the panel of a test, methods side by side, one pixel, the walk through a photograph."""
