"""Speed and memory, as ratios to named counterparts measured in the same run: ``make bench``."""
