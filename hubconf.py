"""What torch.hub finds here: ``torch.hub.load(FOLDER or "owner/arcsr-lightning", "arcsr_small")``."""

import sys
from pathlib import Path

from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "src"))  # torch.hub installs nothing

from arcsr_lightning import load_model  # an entry of its own, for other weights

dependencies = ["torch", "safetensors"]


def arcsr_small() -> nn.Module:
    """The network that comes with the package, in eval mode, on the CPU."""
    return load_model("arcsr_small")
