"""Running a network on images of any size, in bounded memory, while files are read and written."""

from arcsr_lightning.inference.memory import free_memory, largest_tile, naming_lack_of_memory
from arcsr_lightning.inference.observed import Observed
from arcsr_lightning.inference.passes import finite, pick_device, run_network
from arcsr_lightning.inference.threads import ahead, behind
from arcsr_lightning.inference.tiles import restore

__all__ = [
    "Observed",
    "ahead",
    "behind",
    "finite",
    "free_memory",
    "largest_tile",
    "naming_lack_of_memory",
    "pick_device",
    "restore",
    "run_network",
]
