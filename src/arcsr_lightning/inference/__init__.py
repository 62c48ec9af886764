"""Running a network on images of any size, in bounded memory, while files are read and written."""

from arcsr_lightning.inference.device import placed, use_device
from arcsr_lightning.inference.memory import free_memory, largest_tile, naming_lack_of_memory
from arcsr_lightning.inference.observed import Observed
from arcsr_lightning.inference.passes import require_finite, run_network
from arcsr_lightning.inference.threads import ahead, behind
from arcsr_lightning.inference.tiles import restore

__all__ = [
    "Observed",
    "ahead",
    "behind",
    "free_memory",
    "largest_tile",
    "naming_lack_of_memory",
    "placed",
    "require_finite",
    "restore",
    "run_network",
    "use_device",
]
