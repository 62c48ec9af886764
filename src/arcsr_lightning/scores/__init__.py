"""A score's way from a batch to a file: metrics, rows, report, and what a network costs."""
