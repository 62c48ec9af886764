"""RRDBNet, ESRGAN's generator (Wang et al., ECCV workshops 2018), and the trunk of MANet and CMOS that grew from it."""

from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT
from arcsr_lightning.rivals.rrdb.network import RRDBNet

__all__ = ["RRDBSFT", "RRDBNet"]
